// The operators' console: signing in and out, and which view is shown.

import { onOut, signIn, signOut, who } from "./wire.mjs";
import { $, problem, say } from "./parts.mjs";
import * as realms from "./realms.mjs";
import * as trail from "./trail.mjs";
import * as uploads from "./uploads.mjs";
import * as users from "./users.mjs";

const VIEWS = { uploads, users, realms, audit: trail };
let shown = null;

for (const view of Object.values(VIEWS)) view.start();

/** Shows what the address says; without a session, the sign-in. */
async function go({ focus = false } = {}) {
  const signedIn = Boolean(who());
  $("sign-in").hidden = signedIn;
  $("bar").hidden = !signedIn;
  if (shown) VIEWS[shown].hide();
  const [name, id] = location.hash.slice(1).split("/");
  shown = signedIn ? (name in VIEWS ? name : "uploads") : null;
  for (const view of Object.keys(VIEWS)) {
    $(view).hidden = view !== shown;
    const link = $(`to-${view}`);
    if (view === shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("who").textContent = who() ?? "";
  document.title = shown ? `${$(`to-${shown}`).textContent} – chunkgate` : "Sign in – chunkgate";
  if (!shown) return $("name").focus();
  if (focus) $("main").focus();
  await VIEWS[shown].show(id);
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const submit = $("sign-in-submit");
  submit.disabled = true;
  problem($("sign-in-problem"), null);
  try {
    await signIn($("name").value.trim(), $("secret").value.trim());
    $("secret").value = "";
    say("Signed in.");
    await go({ focus: true });
  } catch (error) {
    problem($("sign-in-problem"), error.code === "scope_denied" ? "These credentials are right, but not an operator's." : error);
    $("secret").select();
  } finally {
    submit.disabled = false;
  }
});

/** Leaves nothing behind of who was signed in. */
function leave(why) {
  signOut();
  for (const view of Object.values(VIEWS)) view.forget();
  document.querySelectorAll("dialog").forEach((box) => box.close());
  problem($("sign-in-problem"), why);
  go();
}

$("sign-out").addEventListener("click", () => {
  leave(null);
  say("Signed out.");
});
onOut(() => leave("These credentials are no longer valid"));

addEventListener("hashchange", () => go({ focus: true }));
go();
