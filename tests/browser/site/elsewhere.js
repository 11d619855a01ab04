// A page with jQuery-File-Upload on an origin of its own. It speaks to the service as the pages of both originals do:
// `multipart` as the demo page of django-chunked-upload, `raw` as the script of django-chunked-uploads.

const CHUNK = 256 * 1024;

/** For the tests: ends of uploads as `{ name, id, body }` or `{ name, why }`, and the plugin's data of the last one. */
const results = [];
let current;

const ended = (file, id, body) => results.push({ name: file.name, id, body });
const failed = (data) => data.errorThrown !== "abort" && results.push({ name: data.files[0].name, why: String(data.errorThrown) });

/** `headers` are the credentials; what the page remembers over a reload is the id. */
function multipart(base, headers) {
  const ask = (id) => $.ajax({ url: `${base}/api/v1/uploads/${id}`, headers, cache: false });
  const remembered = () => localStorage.getItem("upload");
  const field = (id) => [{ name: "upload_id", value: id }];
  $("#file").fileupload({
    url: `${base}/chunked_upload/`,
    dataType: "json",
    paramName: "file",
    maxChunkSize: CHUNK,
    headers,
    async add(event, data) {
      current = data;
      data.formData = [];
      if (remembered()) {
        data.uploadedBytes = (await ask(remembered())).offset;
        data.formData = field(remembered());
      }
      data.submit();
    },
    chunkdone(event, data) {
      localStorage.setItem("upload", data.result.upload_id);
      if (data.formData.length === 0) data.formData.push(...field(data.result.upload_id));
    },
    async done(event, data) {
      const [file, id] = [data.files[0], data.result.upload_id];
      const form = { upload_id: id, md5: SparkMD5.ArrayBuffer.hash(await file.arrayBuffer()) };
      localStorage.removeItem("upload");
      const body = await $.ajax({ type: "POST", url: `${base}/chunked_upload_complete/`, data: form, dataType: "json", headers });
      ended(file, id, body);
    },
    fail: (event, data) => failed(data),
  });
  return {
    cancel: () => $.ajax({ type: "DELETE", url: `${base}/api/v1/uploads/${remembered()}`, headers }).then(() => null),
    async resume() {
      current.uploadedBytes = (await ask(remembered())).offset;
      current.data = null;
      current.submit();
      return current.uploadedBytes;
    },
  };
}

/** `query` are the credentials where the original's script has them in the URL, `form` where it sends them in a body. */
function raw(base, headers, { query = {}, form, keepsCookies = true } = {}) {
  const url = `${base}/chunked_uploads/upload/`;
  const xhrFields = { withCredentials: keepsCookies };
  const probe = () => $.ajax({ url: `${url}?${$.param(query)}`, headers: $.isEmptyObject(query) ? headers : {}, dataType: "json", cache: false, xhrFields });
  $("#file").fileupload({
    url,
    type: "POST",
    dataType: "json",
    multipart: false,
    maxChunkSize: CHUNK,
    headers,
    xhrFields,
    async add(event, data) {
      current = data;
      const [known] = await probe();
      if (known && known.total_size === data.files[0].size) data.uploadedBytes = known.size;
      else if (known) await $.ajax({ type: known.delete_type, url: known.delete_url, ...(form ? { data: form } : { headers }) });
      data.submit();
    },
    done(event, data) {
      const [{ upload_uuid: id }] = data.result;
      const settings = { type: "POST", url: `${url}done/${id}/`, headers, dataType: "json", xhrFields };
      $.ajax(settings).then((body) => ended(data.files[0], id, body), (xhr) => results.push({ why: xhr.status }));
    },
    fail: (event, data) => failed(data),
  });
  return {
    async cancel() {
      const [known] = await probe();
      return $.ajax({ type: known.delete_type, url: known.delete_url, headers, dataType: "json" });
    },
    async resume() {
      const [known] = await probe();
      current.uploadedBytes = known.size;
      current.data = null;
      current.submit();
      return known.size;
    },
  };
}
