// Ways to compare a scan with its layer: one over the other, on both sides of a handle, or side by side.

const splitAt = (percent) => {
  chosen.split = percent;
  for (const input of document.querySelectorAll(".split")) {
    input.value = percent;
    input.setAttribute("aria-valuetext", `plain scan up to ${percent} %`);
    input.closest(".viewer").style.setProperty("--split", percent);
  }
};
// The plain scan beside the overlay is drawn when it is wanted: it would double what the page weighs.
const drawPlain = async (viewer) => {
  const [scan, canvas] = [viewer.querySelector("img.scan"), viewer.querySelector(".plain canvas")];
  if (!scan || canvas.dataset.drawn) return;
  canvas.dataset.drawn = "yes";
  if (!(await loaded(scan))) return;
  [canvas.width, canvas.height] = [scan.naturalWidth, scan.naturalHeight];
  canvas.getContext("2d").drawImage(scan, 0, 0);
};
const compare = (viewer) => {
  for (const button of viewer.querySelectorAll("[data-mode]"))
    button.setAttribute("aria-pressed", String(button.dataset.mode === chosen.mode));
  if (chosen.mode === "side") drawPlain(viewer);
};
const setMode = (mode) => {
  chosen.mode = document.documentElement.dataset.compare = mode; // the stylesheet does the rest
  for (const viewer of document.querySelectorAll(".viewer")) compare(viewer);
};
document.addEventListener("input", (event) => event.target.matches?.(".split") && splitAt(Number(event.target.value)));
dressers.push((fresh) => {
  if (!fresh.matches(".viewer")) return;
  compare(fresh);
  splitAt(chosen.split);
  for (const button of fresh.querySelectorAll("[data-viewer=full]")) button.hidden = !document.fullscreenEnabled;
});
