// The thickness profile: the column that is pointed at in it is marked in the scan, and the other way round.

// Mark a column in scan and profile, and give its figures; null takes the mark away, and gives the means again.
const mark = (viewer, state, column) => {
  const panes = panesOf(viewer);
  const profile = panes.querySelector(".profile");
  if (!profile) return;
  panes.classList.toggle("marked", column !== null);
  const at = profile.querySelector(".at");
  const figures = [...profile.querySelectorAll("dd")];
  if (column === null) {
    for (const element of [at, ...figures]) element.textContent = element.dataset.rest;
    return;
  }
  const { width, axial, lateral, unit } = profile.dataset;
  panes.style.setProperty("--column", (column + 0.5) / width);
  const counts = new Array(256).fill(0);
  for (let i = column; i < state.model.length; i += Number(width)) counts[state.model[i]] += 1;
  const ids = figures.map((figure) => figure.parentElement.dataset.class);
  const retina = ids.reduce((sum, id) => sum + (id === undefined ? 0 : counts[id]), 0);
  const dark = counts[255] === state.model.length / width; // nothing is known here
  const digits = axial === "1" ? 0 : 1;
  const told = ids.map((id) => (dark ? "–" : ((id === undefined ? retina : counts[id]) * axial).toFixed(digits)));
  figures.forEach((figure, i) => (figure.textContent = told[i]));
  const place = lateral ? `${((column * lateral) / 1000).toFixed(2)} mm` : `column ${column}`;
  at.textContent = `At ${place}, ${unit}`;
  const input = profile.querySelector(".column");
  const names = figures.map((figure) => figure.previousElementSibling.textContent);
  input.setAttribute("aria-valuetext", `${place}: ${names.map((name, i) => `${name} ${told[i]} ${unit}`).join(", ")}`);
};
const markIn = async (input, column) => {
  const viewer = viewerOf(input);
  if (viewer) mark(viewer, await stateOf(viewer), column);
};
const isColumn = (event) => event.target.matches?.(".profile .column");
document.addEventListener("input", (event) => isColumn(event) && markIn(event.target, Number(event.target.value)));
document.addEventListener("focusin", (event) => isColumn(event) && markIn(event.target, Number(event.target.value)));
document.addEventListener("focusout", (event) => isColumn(event) && markIn(event.target, null));
document.addEventListener("pointermove", (event) => {
  if (!isColumn(event) || event.pointerType === "touch") return; // a finger moves the slider
  const box = event.target.getBoundingClientRect();
  const columns = Number(event.target.max) + 1;
  const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
  markIn(event.target, Math.max(0, Math.min(column, columns - 1)));
});
document.addEventListener("pointerout", (event) => {
  if (!isColumn(event) || event.pointerType === "touch") return;
  const focused = event.target.matches(":focus-visible"); // then its own column is marked again
  markIn(event.target, focused ? Number(event.target.value) : null);
});
