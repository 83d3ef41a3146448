// What pages do better with a script; all of them work without it.
"use strict";

function improve(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    time.title = time.dateTime;
    time.textContent = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }).format(moment);
  }
  for (const button of part.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    const before = button.textContent;
    button.textContent = button.dataset.done;
    setTimeout(() => { button.textContent = before; }, 1500);
  }
});

document.addEventListener("DOMContentLoaded", () => improve(document));
document.addEventListener("htmx:load", (event) => improve(event.detail.elt));

// A question is loaded into the page's dialog, and so is the reason why it cannot be asked. Without a script, its link
// leads to a page of its own.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id === "dialog") {
    event.detail.shouldSwap = true;
  }
});

document.addEventListener("htmx:afterSwap", (event) => {
  const dialog = event.detail.target;
  if (dialog.id !== "dialog") {
    return;
  }
  if (dialog.firstElementChild) {
    dialog.showModal();
  } else {
    // Neither a question nor a reason: the session is over, and the page says so.
    location.reload();
  }
});

document.addEventListener("click", (event) => {
  const dialog = event.target.closest("dialog");
  if (dialog && (event.target === dialog || event.target.closest("[data-close]"))) {
    event.preventDefault();
    dialog.close();
  }
});
