// One file on the page: its name, state, progress, what is wrong, and what can be done.

/** An element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** An item of a list. It knows nothing of uploads: whoever owns it says what it shows. */
export class Card {
  #buttons = "";

  constructor(parent, name, label) {
    this.name = name;
    this.root = element(
      "li",
      { className: "cg-card" },
      element(
        "div",
        { className: "cg-row" },
        element("span", { className: "cg-name", textContent: name }),
        element("span", { className: "cg-badge" }),
      ),
      element("progress", { className: "cg-progress", max: 1, value: 0, "aria-label": label }),
      element("p", { className: "cg-facts" }),
      element("p", { className: "cg-problem", hidden: true }),
      element("div", { className: "cg-actions" }),
    );
    parent.append(this.root);
  }

  #find(name) {
    return this.root.querySelector(`.cg-${name}`);
  }

  /** `state` chooses the colour. */
  badge(state, text) {
    write(this.#find("badge"), text);
    this.#find("badge").className = `cg-badge cg-${state}`;
    this.root.dataset.state = state;
  }

  /** Nothing: no bar. */
  progress(part) {
    this.#find("progress").hidden = part === null;
    this.#find("progress").value = part ?? 0;
  }

  facts(text) {
    write(this.#find("facts"), text);
  }

  problem(text) {
    write(this.#find("problem"), text);
    this.#find("problem").hidden = !text;
  }

  /** Buttons as [text, label, deed, quiet]. The same ones stay; of others the first gets the focus if one had it. */
  actions(buttons) {
    const texts = buttons.map(([text]) => text).join("\n");
    if (texts === this.#buttons) return;
    this.#buttons = texts;
    const place = this.#find("actions");
    const focused = place.contains(document.activeElement);
    const made = buttons.map(([text, label, deed, quiet]) => {
      const button = element("button", { type: "button", textContent: text, "aria-label": label });
      button.className = quiet ? "cg-quiet" : "";
      button.addEventListener("click", deed);
      return button;
    });
    place.replaceChildren(...made);
    if (focused) made[0]?.focus();
  }

  /** Goes; `heir` gets the focus if it was here. */
  remove(heir) {
    const focused = this.root.contains(document.activeElement);
    this.root.remove();
    if (focused) heir?.focus();
  }
}

/** The same text is not written again: a screen reader would read it again. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
