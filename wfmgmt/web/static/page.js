// What refreshes by itself stops while nobody sees it, says when it is out of date, and leaves alone what somebody reads.
(() => {
  "use strict";
  const stale = document.getElementById("stale");
  const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  let last = new Date();
  let open = [];

  const isReading = (part) => {
    const selection = document.getSelection();
    return !selection.isCollapsed && part.contains(selection.anchorNode);
  };
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden || isReading(event.detail.elt)) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const status = event.detail.xhr.status;
    if (status === 401) location.reload();
    if (event.detail.successful) last = new Date();
    else stale.textContent = `Out of date since ${time.format(last)}: ${status ? `the service answered with ${status}` : "the service does not answer"}.`;
    stale.hidden = event.detail.successful;
  });
  document.addEventListener("htmx:beforeSwap", () => {
    open = [...document.querySelectorAll("[data-live] details[open][id]")].map((details) => details.id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const part of document.querySelectorAll("[data-live]")) htmx.trigger(part, "refresh");
  });
})();
