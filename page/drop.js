// A scan that is pasted or dropped anywhere on the page is added.

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
