// Links to examples. The address bar leads to the example on show, and no further once there is a visitor's own scan.

// The page's address with a link in it, or without any; what else it asks for stays.
const addressOf = (link) => {
  const address = new URL(location.href);
  for (const name of ["tab", "example"]) address.searchParams.delete(name);
  for (const [name, value] of new URLSearchParams(link)) address.searchParams.set(name, value);
  return address.href;
};
const goTo = (link) => history.replaceState(history.state, "", addressOf(link));
document.addEventListener("octhub-scan", (event) => goTo(event.target.querySelector("[data-link]")?.dataset.link ?? ""));

const copyLink = async (button) => {
  goTo(button.dataset.link);
  const link = location.href;
  const copied = await navigator.clipboard?.writeText(link).then(() => true, () => false); // not over plain HTTP
  button.textContent = copied ? "Link copied" : "See the address bar";
  setTimeout(() => (button.textContent = "Copy link"), 2500);
};
