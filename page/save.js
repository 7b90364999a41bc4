// The scan and the layer over it, compared and blended as on screen, at the scan's own size.

const save = (viewer) => {
  const scan = viewer.querySelector("img.scan");
  const layer = layerOf(viewer);
  const [width, height] = [scan.naturalWidth, scan.naturalHeight];
  const left = chosen.mode === "side" ? width : 0;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [left + width, height];
  const context = canvas.getContext("2d");
  context.drawImage(scan, 0, 0);
  if (left) context.drawImage(scan, left, 0);
  if (chosen.mode === "slider") {
    context.beginPath();
    context.rect((width * chosen.split) / 100, 0, width, height);
    context.clip();
  }
  const style = getComputedStyle(viewer.querySelector(".stage")); // not the layer's, which is less while a class is singled out
  context.globalAlpha = Number(style.getPropertyValue("--opacity") || style.getPropertyValue("--default"));
  context.drawImage(viewer.matches(".some-off") ? viewer.querySelector("canvas.toggled") : layer, left, 0);
  canvas.toBlob((blob) => {
    const href = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href, download: layer.dataset.save }).click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  });
};
