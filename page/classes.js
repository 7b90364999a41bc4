// Which classes the picture shows: one singled out, for as long as it is pointed at or until it is clicked again, and
// those that the visitor has switched off, for all scans to come.

// Show one class alone, brighter, and the others faintly; `id` null shows all again.
const single = (viewer, state, id) => {
  const view = viewOf(viewer);
  if (viewer.dataset.single === `${view} ${id}`) return;
  viewer.dataset.single = `${view} ${id}`;
  const panes = panesOf(viewer);
  for (const element of panes.querySelectorAll(".viewer, .profile")) element.classList.toggle("singled", id !== null);
  for (const element of panes.querySelectorAll("[data-class]"))
    element.classList.toggle("on", Number(element.dataset.class) === id && id !== null);
  const canvas = viewer.querySelector("canvas.single");
  canvas.hidden = id === null;
  if (id === null) return;
  [canvas.width, canvas.height] = [viewer.dataset.width, viewer.dataset.height];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(picture.data.buffer);
  const [r, g, b, a] = entryOf(viewer, id).dataset.colour.split(" ");
  const colour = ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const { model, expert } = state;
  if (view !== "difference") {
    const ids = state[view];
    for (let i = 0; i < pixels.length; i++) if (ids[i] === id) pixels[i] = colour;
    context.putImageData(picture, 0, 0);
    return;
  }
  for (let i = 0; i < pixels.length; i++) if (model[i] === id || expert[i] === id) pixels[i] = 0xff000000;
  context.putImageData(picture, 0, 0);
  context.globalCompositeOperation = "source-in"; // the layer's own colours, where the class has a part in them
  context.drawImage(layerOf(viewer), 0, 0);
};
const pin = (viewer, state, id) => {
  state.pinned = id;
  for (const button of viewer.querySelectorAll(".legend [data-class]"))
    button.setAttribute("aria-pressed", String(Number(button.dataset.class) === id && id !== null));
  single(viewer, state, id);
};
const known = (viewer, id) => (nameOf(viewer, id) === undefined ? null : id);
const isOff = (viewer, id) => chosen.off.has(nameOf(viewer, id));

// Draw the layer without the classes that are off, and take their lines out of the profile.
const redraw = async (viewer) => {
  const eyes = [...viewer.querySelectorAll("[data-toggle]")];
  for (const eye of eyes) eye.checked = !isOff(viewer, eye.dataset.toggle);
  const off = new Uint8Array(256);
  for (const eye of eyes) off[eye.dataset.toggle] = eye.checked ? 0 : 1;
  for (const line of panesOf(viewer).querySelectorAll(".profile [data-class]"))
    line.classList.toggle("off", Boolean(off[line.dataset.class]));
  viewer.classList.toggle("some-off", off.includes(1));
  if (!off.includes(1)) return;
  const { model, expert } = await stateOf(viewer);
  const [view, layer, canvas] = [viewOf(viewer), layerOf(viewer), viewer.querySelector("canvas.toggled")];
  if (!(await loaded(layer))) return;
  [canvas.width, canvas.height] = [viewer.dataset.width, viewer.dataset.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(layer, 0, 0);
  const picture = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Uint32Array(picture.data.buffer);
  const ids = view === "expert" ? expert : model;
  const eyeless = new Uint8Array(256).fill(1); // what is clear anyway
  for (const eye of eyes) eyeless[eye.dataset.toggle] = 0;
  const gone = (a, b) => (off[a] || off[b]) && (off[a] || eyeless[a]) && (off[b] || eyeless[b]);
  for (let i = 0; i < pixels.length; i++)
    if (view === "difference" ? expert[i] !== 255 && gone(model[i], expert[i]) : off[ids[i]]) pixels[i] = 0;
  context.putImageData(picture, 0, 0);
};
const toggle = (viewer, names, on) => {
  for (const name of names) chosen.off[on ? "delete" : "add"](name);
  redraw(viewer);
};
document.addEventListener("change", (event) => {
  const viewer = event.target.dataset?.toggle && viewerOf(event.target);
  if (viewer) toggle(viewer, [nameOf(viewer, event.target.dataset.toggle)], event.target.checked);
});
dressers.push((fresh) => {
  const viewer = viewerOf(fresh);
  panesOf(fresh).classList.remove("marked");
  if (viewer) redraw(viewer);
});
