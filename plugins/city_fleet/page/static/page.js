// What the pages do in the browser beside htmx: links out of Airflow's frame, the selection, dialogs, errors, keys.
"use strict";
(() => {
  const framed = window.parent !== window;
  const byId = (id) => document.getElementById(id);
  Idiomorph.defaults.ignoreActiveValue = true; // what somebody is typing is not replaced

  // ---- Airflow's frame. It lets no link leave it, and opens no window; but its document is of the same origin, and may.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow], a[target=_blank]");
    if (!link || !framed || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    try {
      const outer = window.parent.document.createElement("a");
      outer.href = link.href;
      outer.target = link.target;
      outer.rel = link.rel;
      window.parent.document.body.append(outer);
      outer.click();
      outer.remove();
      event.preventDefault();
    } catch {
      // A frame of another origin: the link does what it can.
    }
  });

  // The address of Airflow's page names the page in its frame; what htmx changes it is told here.
  const tell = () => {
    if (!framed) return;
    try {
      const { location, history } = window.parent;
      const at = location.pathname.indexOf("/plugin/city-fleet");
      if (at < 0) return;
      const path = `${location.pathname.slice(0, at)}/plugin/city-fleet${window.location.pathname}`;
      history.replaceState(history.state, "", path + window.location.search);
    } catch {
      // As above.
    }
  };
  document.addEventListener("htmx:pushedIntoHistory", tell);
  document.addEventListener("htmx:replacedInHistory", tell);

  // ---- The selection. It is kept here and not in the table: it outlives pages, filters and updates.
  const chosen = new Map(); // slug → name
  const choose = (box) => (box.checked ? chosen.set(box.value, box.dataset.name) : chosen.delete(box.value));
  const boxes = () => [...document.querySelectorAll("td.pick input")];
  const show = () => {
    for (const box of boxes()) {
      box.checked = chosen.has(box.value);
      box.closest("tr").classList.toggle("chosen", box.checked);
    }
    const all = byId("all");
    if (all) {
      const marked = boxes().filter((box) => box.checked).length;
      all.checked = marked > 0 && marked === boxes().length;
      all.indeterminate = marked > 0 && !all.checked;
    }
    const form = byId("selection");
    if (form) {
      form.hidden = chosen.size === 0;
      form.querySelector("[data-count]").textContent =
        chosen.size === 1 ? [...chosen.values()][0] : `${chosen.size} cities`;
    }
  };
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.id === "all") {
      for (const each of boxes()) {
        each.checked = box.checked;
        choose(each);
      }
    } else if (box.matches("td.pick input")) choose(box);
    else return;
    show();
  });
  // After the swap, so that nobody sees the boxes empty; and when all of it has settled.
  for (const moment of ["htmx:afterSwap", "htmx:afterSettle"]) document.addEventListener(moment, show);

  // ---- Dialogs: a question about some cities, and what came of the answer.
  let opener = null;
  const ask = (url) => {
    opener = document.activeElement;
    htmx.ajax("GET", url, { target: "#dialog", swap: "innerHTML" });
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.action) {
      const words = new URLSearchParams([...chosen.keys()].map((slug) => ["city", slug]));
      ask(`${button.form.dataset.confirm}${button.dataset.action}?${words}`);
    } else if ("clear" in button.dataset) {
      chosen.clear();
      show();
    } else if ("close" in button.dataset) {
      byId("dialog").close();
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = byId("dialog");
    if (event.detail.target !== dialog) return;
    if (!dialog.open) {
      opener = opener || document.activeElement;
      dialog.showModal();
    }
    const first = dialog.querySelector("[autofocus], button, a");
    if (first) first.focus();
    if (dialog.querySelector("[data-done]")) {
      chosen.clear();
      show();
    }
  });
  document.addEventListener("DOMContentLoaded", () => {
    const dialog = byId("dialog");
    dialog.addEventListener("close", () => {
      const done = dialog.querySelector("[data-done]");
      dialog.replaceChildren();
      if (opener && opener.isConnected) opener.focus();
      opener = null;
      // What was changed is looked at again at once.
      const poll = document.querySelector("[data-poll]");
      if (done && poll) htmx.ajax("GET", window.location.href, { source: poll, target: "#main", swap: "morph:innerHTML" });
    });
    show();
    tell();
    document.documentElement.dataset.ready = "true";
  });

  // ---- What goes wrong is said above the page, which stays as it was.
  const notice = (text, link) => {
    const place = byId("notice");
    place.replaceChildren(text);
    if (link) {
      const back = document.createElement("a");
      back.href = link;
      back.dataset.airflow = "";
      back.textContent = "Log in to Airflow";
      place.append(" ", back);
    }
    place.hidden = !text;
  };
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) notice("");
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // An answer that refuses what a dialog has asked for is shown in the dialog.
    const status = event.detail.xhr.status;
    if (event.detail.target === byId("dialog") && status >= 400 && status !== 401) event.detail.shouldSwap = true;
  });
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr, target } = event.detail;
    if (xhr.status === 401) {
      const root = document.querySelector("link[rel=icon]").href.replace(/city-fleet\/static\/.*$/, "");
      notice("You are not logged in any more; what you see is as it was.", root);
    } else if (target !== byId("dialog")) {
      notice(xhr.status === 403 ? "Your role in Airflow does not allow this." : "Airflow could not answer; it is asked again.");
    }
  });
  document.addEventListener("htmx:sendError", () => notice("Airflow does not answer; it is asked again."));
  document.addEventListener("htmx:timeout", () => notice("Airflow does not answer in time; it is asked again."));

  // ---- Keys: / finds a city, j and k go down and up, x selects, ? says so.
  const step = (by) => {
    const rows = [...document.querySelectorAll("tbody tr")];
    const at = rows.indexOf(document.activeElement.closest("tbody tr"));
    const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
    const link = next && next.querySelector("th a");
    if (link) link.focus();
  };
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input[type=search], textarea, select, input[type=text], dialog");
    if (field || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = document.activeElement.closest("tbody tr");
    const box = row && row.querySelector("td.pick input");
    const act = {
      "/": () => byId("q") && byId("q").focus(),
      j: () => step(1),
      k: () => step(-1),
      x: () => box && box.click(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
})();
