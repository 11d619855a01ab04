// A page with jQuery-File-Upload, in two ways (`?way=`): `plain`, as the demo page of django-chunked-upload does it, and
// `recover`, with the page code of the documents.

const CHUNK = 256 * 1024;

/** For the tests: ends of uploads as `{ name, id, status, body }` or `{ name, why }`; the plugin's data by file name. */
const results = [];
const uploads = {};
let headers;

async function complete(file, id) {
  const md5 = SparkMD5.ArrayBuffer.hash(await file.arrayBuffer());
  const settings = { type: "POST", url: "/chunked_upload_complete/", data: { upload_id: id, md5 }, dataType: "json", headers };
  $.ajax(settings).always((first, _, last) => {
    const [body, answer] = last.status ? [first, last] : [null, first];
    results.push({ name: file.name, id, status: answer.status, body });
  });
}

const failed = (file, why) => results.push({ name: file.name, why });

/** Goes on with a paused upload where the service stands. */
async function resume(name) {
  const data = uploads[name];
  const answer = await fetch(`/api/v1/uploads/${data.files[0].uploadId}`, { headers, cache: "no-store" });
  data.uploadedBytes = (await answer.json()).offset;
  data.data = null;
  data.submit();
  return data.uploadedBytes;
}

const ways = {
  plain() {
    $("#file").fileupload({
      url: "/chunked_upload/",
      dataType: "json",
      paramName: "file",
      maxChunkSize: CHUNK,
      headers,
      // Of its own for each file: with one for all of them, two files at once would be mixed.
      add(event, data) {
        data.formData = [];
        data.submit();
      },
      chunkdone(event, data) {
        data.files[0].uploadId = data.result.upload_id;
        if (data.formData.length === 0) data.formData.push({ name: "upload_id", value: data.result.upload_id });
      },
      done: (event, data) => complete(data.files[0], data.result.upload_id),
      fail: (event, data) => data.errorThrown !== "abort" && failed(data.files[0], data.errorThrown || data.textStatus),
    });
  },
  recover() {
    resumableUpload("#file", { base: "", headers: () => headers, uploaded: complete, failed });
    $("#file").fileupload("option", "maxChunkSize", CHUNK);
  },
};

(async () => {
  headers = await (await fetch("/sign")).json();
  ways[new URLSearchParams(location.search).get("way")]();
  $("#file").on("fileuploadsubmit", (event, data) => void (uploads[data.files[0].name] = data));
  document.documentElement.dataset.ready = "";
})();
