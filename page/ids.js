// Outlined scans. The class ids of every pixel came with the page: `model`, and `expert` if there is a mask.

const inflate = async (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};
const states = new WeakMap(); // viewer → its maps of ids, and the class that stays singled out; and what they are of
const stateOf = async (viewer) => {
  const { model, expert } = viewer.dataset;
  const last = states.get(viewer);
  if (last?.model === model && last.expert === expert) return last.state; // else the next scan came into the same element
  const maps = Promise.all([model, expert].map((text) => text && inflate(text)));
  const state = maps.then(([model, expert]) => ({ model, expert, pinned: null }));
  states.set(viewer, { model, expert, state });
  return state;
};
// Whether a picture can be drawn; not if another one has come meanwhile.
const loaded = (image) => image.decode().then(() => true, () => false);
const panesOf = (element) => element.closest?.(".panes");
const viewerOf = (element) => panesOf(element)?.querySelector(".viewer[data-model]");
const layerOf = (viewer) => viewer.querySelector("img.layer:not([hidden])");
const viewOf = (viewer) => layerOf(viewer).dataset.layer;
const entryOf = (viewer, id) => viewer.querySelector(`.legend [data-class="${id}"]`);
const nameOf = (viewer, id) => entryOf(viewer, id)?.dataset.name;
