// Users and their keys: found, made, disabled; keys made, followed by others, revoked. A secret is shown once.

import { act, ask, who } from "./wire.mjs";
import { $, Table, badge, button, check, confirm, dialog, field, make, moment, problem, reveal, say } from "./parts.mjs";

const SCOPES = [
  ["upload:create", "begin uploads"],
  ["upload:write", "send chunks and complete"],
  ["upload:read", "see uploads and their content"],
  ["upload:delete", "cancel and remove"],
];
const ADMIN = ["admin", "operate the service: everything this console does"];

let users, keys, cursor;
let asked = 0;
/** Whose keys are shown. */
let chosen = null;

export function start() {
  users = new Table($("users-table"), "Users, newest first", [
    { title: "Name", cell: named, kind: "name", head: true },
    { title: "Known by", cell: ({ realm }) => (realm === "local" ? "this service" : `identity server ${realm}`) },
    { title: "State", cell: standing },
    { title: "Since", cell: ({ created }) => moment(created), kind: "when" },
    { title: "Actions", cell: deeds, kind: "deeds", hidden: true },
  ]);
  keys = new Table($("keys-table"), "API keys, newest first", [
    { title: "Key", cell: ({ id, label }) => [make("span", { class: "filename" }, label || "no label"), make("code", { class: "id" }, id)], kind: "name", head: true },
    { title: "Good for", cell: ({ scopes }) => make("span", { class: "scopes" }, scopes.map((scope) => badge(scope, scope === "admin" ? "strong" : "plain"))) },
    { title: "State", cell: ({ state }) => badge(state) },
    { title: "Last used", cell: ({ last_used }) => moment(last_used), kind: "when" },
    { title: "Ends", cell: ({ expires, overlap_until }) => moment(earlier(expires, overlap_until)), kind: "when" },
    { title: "Actions", cell: keyDeeds, kind: "deeds", hidden: true },
  ]);
  $("users-filter").addEventListener("submit", (event) => event.preventDefault());
  let typing;
  $("users-search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(look, 250);
  });
  $("users-more").addEventListener("click", more);
  $("users-add").addEventListener("click", addUser);
  $("keys-add").addEventListener("click", addKey);
}

/** `#users` shows all, `#users/ID` the keys of one. */
export async function show(id) {
  $("users-all").hidden = Boolean(id);
  $("users-one").hidden = !id;
  if (!id) return look();
  keys.clear();
  chosen = null;
  $("keys-of").textContent = "…";
  return lookAt(id);
}

export const hide = () => (asked += 1);

export function forget() {
  hide();
  users.clear();
  keys.clear();
  chosen = null;
  $("users-search").value = "";
}

async function look() {
  const mine = ++asked;
  try {
    const found = await ask("/users", { search: $("users-search").value.trim(), limit: 50 });
    if (mine !== asked) return;
    problem($("users-problem"), null);
    users.show(found.users);
    $("users-empty").hidden = found.users.length > 0;
    cursor = found.next_cursor;
    $("users-more").hidden = !cursor;
  } catch (error) {
    if (mine === asked) problem($("users-problem"), error);
  }
}

async function more() {
  try {
    const found = await ask("/users", { search: $("users-search").value.trim(), limit: 50, cursor });
    users.show(found.users, { keep: true });
    cursor = found.next_cursor;
    $("users-more").hidden = !cursor;
  } catch (error) {
    problem($("users-problem"), error);
  }
}

async function lookAt(id) {
  const mine = ++asked;
  try {
    const [user, found] = await Promise.all([ask(`/users/${encodeURIComponent(id)}`), ask(`/users/${encodeURIComponent(id)}/keys`)]);
    if (mine !== asked) return;
    chosen = user;
    problem($("keys-problem"), null);
    $("keys-of").textContent = user.username;
    $("keys-add").hidden = user.realm !== "local";
    keys.show(found.keys);
    $("keys-empty").hidden = found.keys.length > 0;
    $("keys-empty").textContent = user.realm === "local" ? "No keys yet." : "This user's keys are the identity server's.";
  } catch (error) {
    if (mine === asked) problem($("keys-problem"), error);
  }
}

const earlier = (...times) => times.filter(Boolean).sort((a, b) => new Date(a) - new Date(b))[0] ?? null;

function named({ username, display_name, email, id, realm }) {
  const about = [display_name, email].filter(Boolean).join(" · ");
  const name = realm === "local" ? make("a", { href: `#users/${id}` }, username) : make("span", {}, username);
  return [make("span", { class: "filename" }, name), about ? make("span", { class: "muted small" }, about) : null];
}

function standing({ disabled, disabled_by, admin, has_password }) {
  const by = disabled_by.includes("identity_server") ? "by the identity server" : "";
  return make("span", { class: "scopes" }, disabled ? badge("disabled") : badge("active"),
    admin ? badge("operator", "strong") : null, has_password ? badge("password", "plain") : null,
    by ? make("span", { class: "muted small" }, by) : null);
}

function deeds(user) {
  const by = user.disabled_by.includes("operator");
  const row = make("div", { class: "actions" });
  if (user.realm === "local") row.append(button("Keys", `of ${user.username}`, () => (location.hash = `users/${user.id}`)));
  if (user.username !== who() || user.realm !== "local") row.append(button(by ? "Enable" : "Disable", user.username, () => (by ? enable(user) : disable(user))));
  return row;
}

async function disable(user) {
  const text = [make("p", {}, make("strong", { class: "filename" }, user.username), " is refused from the next request on, whatever the credentials."), "Uploads stay as they are. You can enable the user again."];
  if (await confirm("Disable this user?", text, "Disable user", () => act(`/users/${user.id}/disable`))) {
    say(`${user.username}: disabled`);
    await look();
  }
}

async function enable(user) {
  try {
    await act(`/users/${user.id}/enable`);
    say(`${user.username}: enabled`);
  } catch (error) {
    problem($("users-problem"), error);
    return;
  }
  await look();
}

async function addUser() {
  const made = await dialog({
    title: "New user",
    text: "A user of this service itself. Identity servers bring their own.",
    fields: [
      field("Name", { name: "username", required: true, maxlength: 255, autocapitalize: "none", spellcheck: "false" }),
      field("Full name (optional)", { name: "display_name", maxlength: 200 }),
      field("Mail address (optional)", { name: "email", type: "email", maxlength: 200 }),
      check("Make a password", { name: "generate_password" }, "shown once; otherwise only API keys admit"),
      check("Operator", { name: "admin" }, "the password may operate this console"),
    ],
    action: "Add user",
    act: (form) => act("/users", {
      username: form.get("username"), display_name: form.get("display_name"), email: form.get("email"),
      generate_password: form.has("generate_password"), admin: form.has("admin"),
    }),
  });
  if (!made) return;
  say(`${made.username}: added`);
  await look();
  if (made.password) await reveal(`Password of ${made.username}`, made.password, "With it the user signs in where passwords are accepted.");
}

function keyDeeds(key) {
  const row = make("div", { class: "actions" });
  const name = key.label || key.id;
  if (key.state === "active") row.append(button("Rotate", name, () => rotate(key, name)));
  if (["active", "overlap"].includes(key.state)) row.append(button("Revoke", name, () => revoke(key, name)));
  return row.childElementCount ? row : null;
}

async function addKey() {
  const user = chosen;
  const scope = ([value, about], checked) => check(value, { name: "scopes", value, checked }, about);
  const made = await dialog({
    title: `New key of ${user.username}`,
    text: [],
    fields: [
      field("Label", { name: "label", maxlength: 200, placeholder: "what it is for" }),
      make("fieldset", {}, make("legend", {}, "Good for"), SCOPES.map((one) => scope(one, true)), scope(ADMIN, false)),
      field("Ends after (optional)", { name: "expires_in", placeholder: "90d" }, "As in 90d or 24h; without it, when it is revoked."),
    ],
    action: "Create key",
    act: (form) => act(`/users/${user.id}/keys`, { label: form.get("label"), scopes: form.getAll("scopes"), expires_in: form.get("expires_in").trim() }),
  });
  if (made) await fresh(user, made, `A client sends it with the user name ${user.username}.`);
}

async function rotate(key, name) {
  const user = chosen;
  const made = await dialog({
    title: "Rotate this key?",
    text: [make("p", {}, "A new key with the same scopes follows ", make("strong", { class: "filename" }, name), ". The old one stays good for a while, so that clients can be changed one by one.")],
    fields: [field("The old key stays good for", { name: "overlap", value: "24h", required: true }, "As in 24h or 7d; 0s ends it at once.")],
    action: "Rotate key",
    act: (form) => act(`/keys/${key.id}/rotate`, { overlap: form.get("overlap").trim() }),
  });
  if (made) await fresh(user, made, `The old key is good until ${new Date(made.old_good_until).toLocaleString()}.`);
}

async function fresh(user, made, about) {
  say("A key was made.");
  await lookAt(user.id);
  await reveal(`The new key of ${user.username}`, made.api_key, about);
}

async function revoke(key, name) {
  const user = chosen;
  const text = [make("p", {}, make("strong", { class: "filename" }, name), " is refused from the next request on."), "This cannot be undone."];
  if (await confirm("Revoke this key?", text, "Revoke key", () => act(`/keys/${key.id}/revoke`))) {
    say(`${name}: revoked`);
    await lookAt(user.id);
  }
}
