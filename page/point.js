// What is under the pointer: its name beside it, its class singled out, its column marked.

// The class under a pointer, what to say of it, and its column; or null for the latter.
const point = (viewer, state, event) => {
  const { width, height } = viewer.dataset;
  const box = viewer.querySelector("img.scan").getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  if (x < 0 || y < 0 || x >= width || y >= height) return { id: null, text: "", x: null };
  const view = viewOf(viewer);
  const at = y * width + x;
  const said = (id) => (isOff(viewer, id) ? `${nameOf(viewer, id)} (hidden)` : nameOf(viewer, id));
  const found = said(state.model[at]) ?? "nothing";
  if (view === "model") return { id: state.model[at], text: said(state.model[at]) ?? "", x };
  const truth = said(state.expert[at]);
  if (view === "expert") return { id: state.expert[at], text: truth ?? "not annotated", x };
  if (truth === undefined) return { id: state.model[at], text: `${found}, not annotated`, x };
  const text = truth === found ? `both: ${truth}` : `model: ${found}, expert: ${truth}`;
  return { id: state.model[at], text, x };
};
const tell = (viewer, event, text) => {
  const tip = viewer.querySelector(".tip");
  tip.hidden = !text;
  tip.textContent = text;
  const box = viewer.querySelector(".frame.main").getBoundingClientRect();
  const x = event.clientX - box.left;
  const left = x > box.width / 2; // the tip stays inside the frame
  tip.style.left = left ? "" : `${x + 14}px`;
  tip.style.right = left ? `${box.width - x + 10}px` : "";
  tip.style.top = `${Math.max(0, Math.min(event.clientY - box.top + 14, box.height - 34))}px`;
};
// In the picture, a class that is switched off stays so.
const visible = (viewer, id) => (isOff(viewer, id) ? null : known(viewer, id));
const release = (viewer, state) => {
  viewer.querySelector(".tip").hidden = true;
  mark(viewer, state, null);
  single(viewer, state, state.pinned);
};

document.addEventListener("pointermove", async (event) => {
  if (event.pointerType === "touch") return; // a finger taps
  const viewer = event.target.closest?.(".frame.main")?.closest(".viewer[data-model]");
  if (!viewer) return;
  const state = await stateOf(viewer);
  if (!viewer.matches(":hover")) return;
  const { id, text, x } = point(viewer, state, event);
  tell(viewer, event, text);
  mark(viewer, state, x);
  single(viewer, state, visible(viewer, id) ?? state.pinned);
});
const enter = async (event) => {
  const element = event.target.closest?.("[data-class]");
  const viewer = element && viewerOf(element);
  if (viewer) single(viewer, await stateOf(viewer), Number(element.dataset.class));
};
const leave = async (event) => {
  const from = event.target.closest?.("[data-class], .frame.main");
  const viewer = from && viewerOf(from);
  if (viewer && !from.contains(event.relatedTarget)) release(viewer, await stateOf(viewer));
};
document.addEventListener("pointerover", (event) => event.pointerType !== "touch" && enter(event));
document.addEventListener("pointerout", (event) => event.pointerType !== "touch" && leave(event));
document.addEventListener("focusin", enter);
document.addEventListener("focusout", leave);
document.addEventListener("keydown", async (event) => {
  if (event.key !== "Escape") return;
  const shown = [...document.querySelectorAll(".viewer[data-model]")].find((v) => v.offsetParent);
  const viewer = viewerOf(event.target) ?? shown;
  if (viewer) pin(viewer, await stateOf(viewer), null);
});
