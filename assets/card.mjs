// What the demo page shows: a card for each file, and how sizes and times are worded.

const $ = (id) => document.getElementById(id);

/** One file: its name, state, progress and buttons. */
export class Card {
  constructor(parent, name) {
    this.root = $("card").content.firstElementChild.cloneNode(true);
    this.name = name;
    this.find(".name").textContent = name;
    this.find("progress").setAttribute("aria-label", `Progress of ${name}`);
    parent.append(this.root);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  badge(state) {
    this.find(".badge").textContent = state;
    this.find(".badge").className = `badge ${state}`;
  }

  progress(part) {
    this.find("progress").hidden = part === null;
    this.find("progress").value = part ?? 0;
  }

  facts(text) {
    this.find(".facts").textContent = text;
  }

  problem(text) {
    this.find(".problem").textContent = text;
    this.find(".problem").hidden = !text;
  }

  /** Buttons as [text, deed, class]. Keeps the focus where the user had it. */
  actions(buttons) {
    const focused = this.find(".actions").contains(document.activeElement);
    const made = buttons.map(([text, deed, kind]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = kind ?? "";
      button.textContent = text;
      button.setAttribute("aria-label", `${text} ${this.name}`);
      button.addEventListener("click", deed);
      return button;
    });
    this.find(".actions").replaceChildren(...made);
    if (focused) made[0]?.focus();
  }

  remove() {
    if (this.root.contains(document.activeElement)) $("pick").focus();
    this.root.remove();
  }
}

// --- Words -------------------------------------------------------------------------------------------------------

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = count < 1 ? 0 : Math.min(Math.floor(Math.log2(count) / 10), units.length - 1);
  const value = count / 1024 ** power;
  return `${power && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export const share = (part, whole) => `${Math.floor((part * 100) / Math.max(whole, 1))} %`;

export function sentence(text) {
  const clean = String(text || "It failed").trim();
  return clean[0].toUpperCase() + clean.slice(1) + (/[.!?]$/.test(clean) ? "" : ".");
}
