// What a click in a viewer does.

const show = (viewer, view) => {
  for (const layer of viewer.querySelectorAll("img.layer")) layer.hidden = layer.dataset.layer !== view;
  for (const button of viewer.querySelectorAll("[data-view]"))
    button.setAttribute("aria-pressed", String(button.dataset.view === view));
  viewer.querySelector(".key.difference").hidden = view !== "difference";
  redraw(viewer);
};
document.addEventListener("click", async (event) => {
  const target = event.target;
  const button = target.closest?.("[data-mode], [data-viewer], [data-view], [data-all], .legend [data-class]");
  const viewer = (button ?? target.closest?.(".frame.main"))?.closest(".viewer");
  if (!viewer || target.matches(".split")) return;
  const { mode, viewer: tool, view, all } = button?.dataset ?? {};
  if (mode) return setMode(mode);
  if (tool === "save") return save(viewer);
  if (tool === "link") return copyLink(button);
  if (tool) return document.fullscreenElement ? document.exitFullscreen() : viewer.requestFullscreen?.();
  if (!viewer.dataset.model) return;
  if (all !== undefined) {
    const eyes = [...viewer.querySelectorAll("[data-toggle]")];
    return toggle(viewer, eyes.map((eye) => nameOf(viewer, eye.dataset.toggle)), Boolean(all));
  }
  const state = await stateOf(viewer);
  if (view) {
    show(viewer, view);
    return single(viewer, state, state.pinned);
  }
  // A class in the legend or in the picture stays singled out until it is clicked again
  const { id, text, x } = button ? { id: Number(button.dataset.class) } : point(viewer, state, event);
  if (!button) {
    tell(viewer, event, text);
    mark(viewer, state, x);
  }
  const now = button ? known(viewer, id) : visible(viewer, id);
  pin(viewer, state, now === state.pinned ? null : now);
});
