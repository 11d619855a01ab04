// Types of chunkgate.mjs.

/** A signature that the site's backend made for the user: see proto-docs/browser-client.md. */
export interface Signature {
  api_key: string;
  timestamp: string | number;
  signature: string;
}

/** A local user's name and API key. The key is a secret: for pages that only its owner sees. */
export interface NameAndKey {
  username: string;
  api_key: string;
}

export type Credentials = Signature | NameAndKey;

/**
 * Credentials, or who gives them when they are needed: at the beginning of an upload, and when those in use are refused.
 * Nothing means: nobody is signed in.
 */
export type Authentication = NameAndKey | (() => Credentials | null | undefined | Promise<Credentials | null | undefined>);

/** `upload_url` as `uploadUrl`. */
type Camel<Name> = Name extends `${infer First}_${infer Rest}` ? `${First}${Capitalize<Camel<Rest>>}` : Name;
type Callback = "start" | "stop" | "progress" | "error" | "url" | "video_url" | "complete";
type Callbacks = Pick<UploadOptions, Callback>;
type Prefixed = {
  [Name in Callback as `on_${Name}` | `on${Capitalize<Camel<Name> & string>}`]?: Callbacks[Name];
} & {
  [Name in Callback as `chunked_upload_${Name}` | `chunked_uploads_${Name}`]?: Callbacks[Name];
};

/**
 * Options in snake case or in camel case; callbacks also with `on`, `chunked_upload_` or `chunked_uploads_` before their
 * names, as the pages of django-chunked-uploads have them.
 */
export type Spelled<Options> = (Options | { [Name in keyof Options as Camel<Name> & string]: Options[Name] }) & Prefixed;

export interface UploadOptions {
  /** The raw door: `https://upload.example.org/chunked_uploads/upload/`. */
  upload_url: string;
  /** Where to complete; an id of zeros in it is replaced. Default: `done/ID/` below `upload_url`. */
  done_url?: string;
  authentication?: Authentication;
  /** In place of `authentication`, as in `chunked_uploads_endpoints`. */
  username?: string;
  api_key?: string;
  /** Bytes in one request. Default: 4 MiB. */
  chunk_size?: number;
  /** Whether requests carry cookies and the browser's own credentials. Default: false. */
  cookies?: boolean;
  /** Whether the md5 is computed and compared. Default: true. */
  digest?: boolean;
  /** Whether an upload is found again after a reload. Default: true. */
  remember?: boolean;
  /** An upload to go on with. */
  id?: string;

  /** It begins, or goes on. */
  start?(upload: ChunkedUpload): void;
  /** It was paused or cancelled. */
  stop?(upload: ChunkedUpload): void;
  progress?(upload: ChunkedUpload): void;
  /** It failed, and does not go on by itself. */
  error?(problem: Problem, upload: ChunkedUpload): void;
  /** The address of the finished upload; before `complete`. */
  url?(url: string | null, upload: ChunkedUpload): void;
  /** The same, as django-chunked-uploads calls it. */
  video_url?(url: string | null, upload: ChunkedUpload): void;
  complete?(upload: ChunkedUpload): void;
}

export interface QueueOptions extends UploadOptions {
  /** Files under way at once. Default: 3. */
  limit?: number;
  /** Whether a file begins when it is added. Default: true. */
  auto_start?: boolean;
}

export interface UploaderOptions extends QueueOptions {
  /** Texts in place of `WORDS`. */
  words?: Partial<Omit<Words, "states" | "problems">> & {
    states?: Partial<Words["states"]>;
    problems?: Partial<Words["problems"]>;
  };
}

export type UploadState =
  | "ready"
  | "queued"
  | "sending"
  | "waiting"
  | "paused"
  | "finishing"
  | "complete"
  | "failed"
  | "cancelled";

export interface Problem {
  code: ProblemCode;
  /** What the service said, for developers. */
  detail: string;
  /** While `waiting`: until the next try. */
  seconds?: number;
}

export type ProblemCode =
  | "network"
  | "busy"
  | "full"
  | "unauthorized"
  | "forbidden"
  | "credentials"
  | "too_large"
  | "damaged"
  | "unreadable"
  | "gone"
  | "refused";

/** One file on its way. Says `change` whenever one of its properties is another. */
export declare class ChunkedUpload extends EventTarget {
  constructor(file: File, options: Spelled<UploadOptions>);
  readonly file: File;
  readonly size: number;
  readonly state: UploadState;
  /** Whether it is sending, waiting or finishing. */
  readonly active: boolean;
  /** At the service; null before it has answered. */
  readonly id: string | null;
  /** Bytes that the service has acknowledged. */
  readonly offset: number;
  /** Bytes that were sent, acknowledged or not. */
  readonly sent: number;
  /** Bytes per second; 0 while unknown. */
  readonly rate: number;
  readonly secondsLeft: number | null;
  readonly problem: Problem | null;
  /** Of the finished upload. */
  readonly url: string | null;
  /** Begins, goes on, tries again. Resolves with the state in which it ended; never rejects. */
  start(): Promise<UploadState>;
  resume(): Promise<UploadState>;
  pause(): void;
  /** Ends it, and removes at the service what arrived. */
  cancel(): Promise<void>;
}

/** Several files, so many at once. Says `change` whenever one of them changes. */
export declare class UploadQueue extends EventTarget {
  constructor(options: Spelled<QueueOptions>);
  readonly uploads: ChunkedUpload[];
  add(file: File, more?: Spelled<Partial<UploadOptions>>): ChunkedUpload;
  /** Takes it off the list; one that is under way goes on. */
  remove(upload: ChunkedUpload): void;
  start(): void;
  pause(): void;
  cancel(): Promise<void>;
}

export interface Uploader {
  readonly root: HTMLElement;
  readonly queue: UploadQueue;
  /** Whether something is under way or waits for its turn. */
  readonly active: boolean;
  add(files: Iterable<File>, more?: Spelled<Partial<UploadOptions>>): ChunkedUpload[];
  remove(upload: ChunkedUpload): void;
  unmount(): void;
}

/**
 * Makes an uploader of `root`. If there is a file input in it, that is used, and buttons with the ids `start_upload`,
 * `pause_upload`, `resume_upload`, `cancel_upload` (or `data-chunkgate="start"` …) act on all files.
 */
export declare function mountUploader(root: HTMLElement, options: Spelled<UploaderOptions>): Uploader;

export interface Words {
  choose: string;
  drop: string;
  uploads: string;
  progressOf(name: string): string;
  actionOn(action: string, name: string): string;
  start: string;
  pause: string;
  resume: string;
  cancel: string;
  again: string;
  now: string;
  dismiss: string;
  states: Record<UploadState, string>;
  news(name: string, state: string): string;
  facts(sent: string, size: string, rate: string, left: string): string;
  checking: string;
  retryIn(time: string): string;
  problems: Record<ProblemCode | "offline", string>;
}

export declare const WORDS: Words;
export declare function bytes(count: number): string;
export declare function duration(seconds: number): string;
