// Every answer makes a viewer anew: Gradio turns the elements that are there into those of the new HTML, and so undoes
// whatever a script has set. What the visitor has chosen is kept here, in the page alone, and put back.

const chosen = {
  mode: "overlay", // how to compare, see compare.js
  split: 50, // where the layer begins in mode "slider", in per cent of the width
  off: new Set(), // names of the classes that are switched off, see classes.js
};
const dressers = []; // functions that get a new viewer or profile
const dress = () => {
  for (const fresh of document.querySelectorAll(":is(.viewer, .profile):not([data-dressed])")) {
    fresh.dataset.dressed = "";
    for (const dresser of dressers) dresser(fresh);
  }
};
const changes = { childList: true, subtree: true, attributes: true, attributeFilter: ["data-dressed"] };
new MutationObserver(dress).observe(document.body, changes);
