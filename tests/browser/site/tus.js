// A page with tus-js-client on an origin of its own. How it proves who asks is `recipe.js`, which is the code of
// proto-docs/tus.md.

const service = new URL(location).searchParams.get("service");
let sign = async () => (await fetch("/sign")).json();
const signMessage = async (message) => (await fetch("/sign-message", { method: "POST", body: JSON.stringify(message) })).json();
const chosen = () => document.getElementById("file").files[0];

/** For the tests: the upload, and how it ended: with `url`, or with `why` not. */
let current, outcome;

function prepare(options, source = chosen()) {
  outcome = null;
  const { name, type } = chosen();
  current = new tus.Upload(source, {
    endpoint: `${service}/files/`,
    metadata: { filename: name, filetype: type },
    retryDelays: [0, 50, 100, 200, 400, 800, 1600, 3200, 6400],
    ...proof,
    onSuccess: () => (outcome = { url: current.url }),
    onError: (error) => (outcome = { why: String(error) }),
    ...options,
  });
}

function begin(options, source) {
  prepare(options, source);
  current.start();
}

/** Goes on with what this browser began before. */
async function goOn(options) {
  prepare(options);
  const [previous] = await current.findPreviousUploads();
  current.resumeFromPreviousUpload(previous);
  current.start();
}

/** A source whose length nobody knows beforehand. */
const streamed = () => chosen().stream().getReader();

/** With every request signed by v2. */
const beginSigned = (options) => begin({ ...provingEach(chosen()), onAfterResponse: null, ...options });

/** As the page of documents has it, without a word of ours. */
async function asDocumented() {
  current = await documentedUpload(chosen());
}
