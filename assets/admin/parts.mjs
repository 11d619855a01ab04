// What the views are made of: elements, tables, dialogs, and how sizes and times are worded.
//
// Text reaches the page as text and never as markup: names of files and users are their senders'.

export const $ = (id) => document.getElementById(id);

// --- Elements ----------------------------------------------------------------------------------------------------

/** An element with attributes and children; texts among the children stay texts. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button; `name` says what it acts on, for those who do not see its row. */
export const button = (text, name, deed, kind = "quiet") =>
  make("button", { type: "button", class: kind, "aria-label": name ? `${text} ${name}` : null, onclick: deed }, text);

export const badge = (text, kind = text) => make("span", { class: `badge ${kind}` }, text);

/** A moment, in the reader's own time, with the exact one behind it. */
export function moment(text) {
  if (!text) return make("span", { class: "muted" }, "–");
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  const day = today ? {} : { year: "numeric", month: "short", day: "numeric" };
  const shown = at.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit", ...(today ? { second: "2-digit" } : {}) });
  return make("time", { datetime: text, title: at.toLocaleString([], { dateStyle: "full", timeStyle: "long" }) }, shown);
}

export function bytes(count) {
  if (count === null || count === undefined) return "?";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = count < 1 ? 0 : Math.min(Math.floor(Math.log2(count) / 10), units.length - 1);
  const value = count / 1024 ** power;
  return `${power && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

/** Says something to those who hear the page. */
export const say = (text) => ($("news").textContent = text);

/** Shows what went wrong, or that nothing does. */
export function problem(where, error) {
  where.textContent = error ? sentence(error.message ?? String(error)) : "";
  where.hidden = !error;
}

export function sentence(text) {
  const clean = String(text || "It failed").trim();
  return clean[0].toUpperCase() + clean.slice(1) + (/[.!?]$/.test(clean) ? "" : ".");
}

// --- Tables ------------------------------------------------------------------------------------------------------

/**
 * A table whose rows stay the same elements while what they show changes, so that neither focus nor place is lost.
 * `columns`: title, and how a row's cell is filled. Narrow windows stack the cells; the roles say that it is a table still.
 */
export class Table {
  #rows = new Map();

  constructor(root, caption, columns) {
    this.columns = columns;
    this.body = make("tbody", { role: "rowgroup" });
    const heads = columns.map(({ title, hidden }) =>
      make("th", { scope: "col", role: "columnheader" }, hidden ? make("span", { class: "hidden" }, title) : title));
    const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, heads));
    root.replaceChildren(make("table", { role: "table" }, make("caption", { class: "hidden" }, caption), head, this.body));
  }

  get length() {
    return this.#rows.size;
  }

  /** Shows these rows in this order; others go, unless `keep` says that they stay behind them. */
  show(items, { keep = false } = {}) {
    const seen = new Set(items.map((item) => item.id));
    for (const [id, row] of this.#rows) {
      if (seen.has(id) || keep) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    let before = keep && items.every((item) => !this.#rows.has(item.id)) ? null : this.body.firstElementChild;
    for (const item of items) {
      const element = this.#update(item);
      if (element === before) before = element.nextElementSibling;
      else this.body.insertBefore(element, before);
    }
  }

  clear() {
    this.#rows.clear();
    this.body.replaceChildren();
  }

  #update(item) {
    const text = JSON.stringify(item);
    const known = this.#rows.get(item.id);
    if (known?.text === text) return known.element;
    const element = known?.element ?? make("tr", { role: "row" });
    const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    const cells = this.columns.map(({ title, cell, kind, head }) =>
      make(head ? "th" : "td", { role: head ? "rowheader" : "cell", scope: head ? "row" : null, class: kind, "data-title": title }, cell(item)));
    element.replaceChildren(...cells);
    if (focused) [...element.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === focused)?.focus();
    this.#rows.set(item.id, { element, text });
    return element;
  }
}

// --- Dialogs -----------------------------------------------------------------------------------------------------

/**
 * A dialog of its own that is gone when it closes; focus returns to where it was. `act` runs on its main button; while it
 * fails the dialog stays and says why. Resolves to what `act` gave, or undefined if it was left.
 */
export function dialog({ title, text, fields = [], action, kind = "", act = () => true, leave = "Cancel" }) {
  const back = document.activeElement;
  const wrong = make("p", { class: "problem", role: "alert", hidden: true });
  const main = make("button", { type: "submit", class: kind }, action);
  const no = leave ? button(leave, null, () => box.close()) : null;
  const form = make("form", { method: "dialog" },
    make("h2", { id: "dialog-title" }, title), [text].flat().map((one) => (typeof one === "string" ? make("p", {}, one) : one)),
    fields, wrong, make("div", { class: "actions end" }, no, main));
  const box = make("dialog", { "aria-labelledby": "dialog-title" }, form);
  let result;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    main.disabled = true;
    problem(wrong, null);
    try {
      result = await act(new FormData(form));
      box.close();
    } catch (error) {
      problem(wrong, error);
      main.disabled = false;
    }
  });
  document.body.append(box);
  return new Promise((resolve) => {
    box.addEventListener("close", () => {
      box.remove();
      if (back?.isConnected) back.focus();
      resolve(result);
    });
    box.showModal();
  });
}

/** Asks before something that cannot be undone. */
export const confirm = (title, text, action, act) => dialog({ title, text, action, act, kind: "danger", leave: "Keep it" });

let fieldCount = 0;

/** A labelled field of a form. */
export function field(label, attributes, hint) {
  const id = `field-${++fieldCount}`;
  const about = hint ? `${id}-hint` : null;
  return make("div", { class: "field" }, make("label", { for: id }, label),
    make("input", { id, autocomplete: "off", "aria-describedby": about, ...attributes }),
    hint ? make("p", { id: about, class: "muted small" }, hint) : null);
}

export function check(label, attributes, hint) {
  const id = `field-${++fieldCount}`;
  return make("div", { class: "check" }, make("input", { type: "checkbox", id, ...attributes }),
    make("label", { for: id }, label, hint ? make("span", { class: "muted small" }, ` ${hint}`) : null));
}

/** Shows a secret, this once. */
export function reveal(title, secret, about) {
  const shown = make("input", { class: "secret", readonly: true, value: secret, "aria-label": title, onfocus: () => shown.select() });
  const copy = button("Copy", null, async () => {
    try {
      await navigator.clipboard.writeText(secret);
      copy.textContent = "Copied";
      say("Copied.");
    } catch {
      // Without the right to write there is still the keyboard.
      shown.focus();
      shown.select();
      copy.textContent = "Press Ctrl+C";
    }
  });
  const row = make("div", { class: "reveal" }, shown, copy);
  const warning = make("p", { class: "notice" }, "Keep it now: it is not shown again.");
  return dialog({ title, text: [about, row, warning], action: "Done", leave: null });
}
