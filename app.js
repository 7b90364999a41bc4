// What the page does in the browser alone. Gradio calls this once, when the page is built.
() => {
  // Hand a file to the drop zone of the open tab, as if it had been chosen there.
  const give = (files) => {
    const zones = [...document.querySelectorAll(".scan-file")];
    const input = zones.find((zone) => zone.offsetParent)?.querySelector("input[type=file]");
    if (!input || !files.length) return false;
    const one = new DataTransfer();
    one.items.add(files[0]);
    input.files = one.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };
  const elsewhere = (event) => event.dataTransfer?.types.includes("Files") && !event.target.closest?.(".scan-file");
  document.addEventListener("paste", (event) => give(event.clipboardData.files) && event.preventDefault());
  document.addEventListener("dragover", (event) => elsewhere(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!elsewhere(event)) return; // the drop zone takes care of its own; elsewhere the browser would leave the page
    event.preventDefault();
    give(event.dataTransfer.files);
  });

  // The scan and the layer over it, blended as on screen, at the scan's own size.
  const save = (stage, name) => {
    const [scan, layer] = stage.querySelectorAll("img");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [scan.naturalWidth, scan.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(scan, 0, 0);
    context.globalAlpha = Number(getComputedStyle(layer).opacity);
    context.drawImage(layer, 0, 0);
    canvas.toBlob((blob) => {
      const href = URL.createObjectURL(blob);
      const download = name.replace(/\.\w+$/, "") + "-octhub.png";
      Object.assign(document.createElement("a"), { href, download }).click();
      setTimeout(() => URL.revokeObjectURL(href), 1000);
    });
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-viewer]");
    if (!button) return;
    const stage = button.closest(".viewer").querySelector(".stage");
    if (button.dataset.viewer === "save") save(stage, button.dataset.name);
    else if (document.fullscreenElement) document.exitFullscreen();
    else stage.requestFullscreen?.();
  });
  document.documentElement.dataset.octhub = "ready"; // tests wait for it
}
