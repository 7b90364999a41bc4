// What the page does in the browser alone. Gradio calls this once, when the page is built.
() => {
  // Hand a file to the open tab's drop zone for scans, as if it had been chosen there.
  const give = (files) => {
    const zones = [...document.querySelectorAll(".scan-file")];
    const input = zones.find((zone) => zone.offsetParent)?.querySelector("input[type=file]");
    if (!input || !files.length) return false;
    const given = new DataTransfer();
    for (const file of input.multiple ? files : [files[0]]) given.items.add(file);
    input.files = given.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };
  const elsewhere = (event) => event.dataTransfer?.types.includes("Files") && !event.target.closest?.(".drop");
  document.addEventListener("paste", (event) => give(event.clipboardData.files) && event.preventDefault());
  document.addEventListener("dragover", (event) => elsewhere(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!elsewhere(event)) return; // the drop zones take care of their own; elsewhere the browser would leave the page
    event.preventDefault();
    give(event.dataTransfer.files);
  });

  // The scan and the layer over it, blended as on screen, at the scan's own size.
  const save = (stage) => {
    const scan = stage.querySelector("img.scan");
    const layer = stage.querySelector("img.layer:not([hidden])");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [scan.naturalWidth, scan.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(scan, 0, 0);
    const style = getComputedStyle(stage); // not the layer's opacity, which is less while a class is singled out
    context.globalAlpha = Number(style.getPropertyValue("--opacity") || style.getPropertyValue("--default"));
    context.drawImage(layer, 0, 0);
    canvas.toBlob((blob) => {
      const href = URL.createObjectURL(blob);
      Object.assign(document.createElement("a"), { href, download: layer.dataset.save }).click();
      setTimeout(() => URL.revokeObjectURL(href), 1000);
    });
  };

  // Outlined scans. The class ids of every pixel came with the page: `model`, and `expert` if there is a mask.
  const inflate = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const states = new WeakMap(); // viewer → its maps of ids, the class that stays singled out, and the one that is
  const stateOf = async (viewer) => {
    if (!states.has(viewer)) {
      const { model, expert } = viewer.dataset;
      const maps = Promise.all([model, expert].map((text) => text && inflate(text)));
      states.set(viewer, maps.then(([model, expert]) => ({ model, expert, pinned: null })));
    }
    return states.get(viewer);
  };
  const viewOf = (viewer) => viewer.querySelector("img.layer:not([hidden])").dataset.layer;
  const viewerOf = (element) => element.closest?.(".panes")?.querySelector(".viewer[data-model]");

  // Show one class alone, brighter, and the others faintly; `id` null shows all again.
  const single = (viewer, state, id) => {
    const view = viewOf(viewer);
    if (viewer.dataset.single === `${view} ${id}`) return;
    viewer.dataset.single = `${view} ${id}`;
    viewer.classList.toggle("singled", id !== null);
    for (const element of viewer.closest(".panes").querySelectorAll("[data-class]"))
      element.classList.toggle("on", Number(element.dataset.class) === id && id !== null);
    const canvas = viewer.querySelector("canvas.single");
    canvas.hidden = id === null;
    if (id === null) return;
    [canvas.width, canvas.height] = [viewer.dataset.width, viewer.dataset.height];
    const context = canvas.getContext("2d");
    const picture = context.createImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(picture.data.buffer);
    const [r, g, b, a] = viewer.querySelector(`.legend [data-class="${id}"]`).dataset.colour.split(" ");
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
    context.drawImage(viewer.querySelector("img.layer:not([hidden])"), 0, 0);
  };

  const nameOf = (viewer, id) => viewer.querySelector(`.legend [data-class="${id}"]`)?.dataset.name;
  // The class under a pointer, and what to say of it.
  const point = (viewer, state, event) => {
    const { width, height } = viewer.dataset;
    const box = viewer.querySelector("img.scan").getBoundingClientRect();
    const scale = Math.min(box.width / width, box.height / height); // object-fit: contain
    const x = Math.floor((event.clientX - box.left - (box.width - width * scale) / 2) / scale);
    const y = Math.floor((event.clientY - box.top - (box.height - height * scale) / 2) / scale);
    if (x < 0 || y < 0 || x >= width || y >= height) return { id: null, text: "" };
    const view = viewOf(viewer);
    const at = y * width + x;
    const found = nameOf(viewer, state.model[at]) ?? "nothing";
    if (view === "model") return { id: state.model[at], text: nameOf(viewer, state.model[at]) ?? "" };
    const truth = nameOf(viewer, state.expert[at]);
    if (view === "expert") return { id: state.expert[at], text: truth ?? "not annotated" };
    if (truth === undefined) return { id: state.model[at], text: `${found}, not annotated` };
    return { id: state.model[at], text: truth === found ? `both: ${truth}` : `model: ${found}, expert: ${truth}` };
  };
  const tell = (viewer, event, text) => {
    const tip = viewer.querySelector(".tip");
    tip.hidden = !text;
    tip.textContent = text;
    const box = viewer.querySelector(".stage").getBoundingClientRect();
    const x = event.clientX - box.left;
    const left = x > box.width / 2; // the tip stays inside the stage
    tip.style.left = left ? "" : `${x + 14}px`;
    tip.style.right = left ? `${box.width - x + 10}px` : "";
    tip.style.top = `${Math.max(0, Math.min(event.clientY - box.top + 14, box.height - 34))}px`;
  };
  const known = (viewer, id) => (nameOf(viewer, id) === undefined ? null : id);
  const pin = (viewer, state, id) => {
    state.pinned = id;
    for (const button of viewer.querySelectorAll(".legend button"))
      button.setAttribute("aria-pressed", String(Number(button.dataset.class) === id && id !== null));
    single(viewer, state, id);
  };
  const release = (viewer, state) => {
    viewer.querySelector(".tip").hidden = true;
    single(viewer, state, state.pinned);
  };

  document.addEventListener("pointermove", async (event) => {
    if (event.pointerType === "touch") return; // a finger taps
    const viewer = event.target.closest?.(".stage")?.closest(".viewer[data-model]");
    if (!viewer) return;
    const state = await stateOf(viewer);
    if (!viewer.matches(":hover")) return;
    const { id, text } = point(viewer, state, event);
    tell(viewer, event, text);
    single(viewer, state, known(viewer, id) ?? state.pinned);
  });
  const enter = async (event) => {
    const element = event.target.closest?.("[data-class]");
    const viewer = element && viewerOf(element);
    if (viewer) single(viewer, await stateOf(viewer), Number(element.dataset.class));
  };
  const leave = async (event) => {
    const from = event.target.closest?.("[data-class], .stage");
    const viewer = from && viewerOf(from);
    if (viewer && !from.contains(event.relatedTarget)) release(viewer, await stateOf(viewer));
  };
  document.addEventListener("pointerover", (event) => event.pointerType !== "touch" && enter(event));
  document.addEventListener("pointerout", (event) => event.pointerType !== "touch" && leave(event));
  document.addEventListener("focusin", enter);
  document.addEventListener("focusout", leave);
  document.addEventListener("keydown", async (event) => {
    if (event.key !== "Escape") return;
    const viewer = viewerOf(event.target) ?? [...document.querySelectorAll(".viewer[data-model]")].find((v) => v.offsetParent);
    if (viewer) pin(viewer, await stateOf(viewer), null);
  });

  const show = (viewer, view) => {
    for (const layer of viewer.querySelectorAll("img.layer")) layer.hidden = layer.dataset.layer !== view;
    for (const button of viewer.querySelectorAll("[data-view]"))
      button.setAttribute("aria-pressed", String(button.dataset.view === view));
    viewer.querySelector(".key.difference").hidden = view !== "difference";
  };
  document.addEventListener("click", async (event) => {
    const target = event.target;
    const button = target.closest?.("[data-viewer], [data-view], .legend [data-class]");
    const viewer = (button ?? target.closest?.(".stage"))?.closest(".viewer");
    if (!viewer) return;
    const stage = viewer.querySelector(".stage");
    if (button?.dataset.viewer === "save") return save(stage);
    if (button?.dataset.viewer) return document.fullscreenElement ? document.exitFullscreen() : stage.requestFullscreen?.();
    if (!viewer.dataset.model) return;
    const state = await stateOf(viewer);
    if (button?.dataset.view) {
      show(viewer, button.dataset.view);
      return single(viewer, state, state.pinned);
    }
    // A class in the legend or in the picture stays singled out until it is clicked again
    const { id, text } = button ? { id: Number(button.dataset.class) } : point(viewer, state, event);
    if (text !== undefined) tell(viewer, event, text);
    const now = known(viewer, id);
    pin(viewer, state, now === state.pinned ? null : now);
  });
  document.documentElement.dataset.octhub = "ready"; // tests wait for it
}
