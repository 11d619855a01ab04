// What an answer that is no success means for an upload.

/** The service cannot be reached, or asks to come back later. */
export class Later extends Error {
  constructor(code, detail, seconds = 0) {
    super(detail);
    this.code = code;
    this.seconds = seconds;
  }
}

/** The upload stands elsewhere: at `offset`, or wherever the service says when it is asked. */
export class Elsewhere extends Error {
  constructor(offset) {
    super("the upload stands elsewhere");
    this.offset = offset;
  }
}

/** The upload is not there any more. */
export class Gone extends Error {}

/** Trying again by itself changes nothing. */
export class Refused extends Error {
  constructor(code, detail) {
    super(detail);
    this.code = code;
  }
}

const REFUSED = { 401: "unauthorized", 403: "forbidden", 413: "too_large" };
const LATER = { 408: "network", 425: "busy", 429: "busy", 507: "full" };

/** What an answer means; nothing if it is a success. */
export function refusal({ status, body, retryAfter }) {
  if (status >= 200 && status < 300) return null;
  const detail = body?.detail ?? body?.title ?? `status ${status}`;
  if (status === 409) return new Elsewhere(Number.isInteger(body?.offset) ? body.offset : null);
  if (status === 404 || status === 410) return new Gone(detail);
  const later = LATER[status] ?? (status >= 500 && status !== 501 && status !== 505 ? "busy" : null);
  if (later) return new Later(later, detail, seconds(retryAfter));
  return new Refused(REFUSED[status] ?? (/digest does not match/.test(detail) ? "damaged" : "refused"), detail);
}

/** `Retry-After` is seconds or a date (RFC 9110 §10.2.3). */
function seconds(retryAfter) {
  if (!retryAfter) return 0;
  const given = Number(retryAfter);
  const value = Number.isNaN(given) ? (Date.parse(retryAfter) - Date.now()) / 1000 : given;
  return Math.max(0, value || 0);
}
