//! `chunkgate uploads`: one's own uploads, over native JSON; with an operator's key those of everybody.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::{
    Failure,
    client::{Answer, Client, Connect},
    print, printable,
};
use crate::domain::UploadId;

/// Uploads asked for at once.
const PAGE: usize = 100;

/// Arguments of `chunkgate uploads`.
#[derive(Debug, Clone, Args)]
pub struct UploadsArgs {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Clone, Subcommand)]
enum Deed {
    /// List uploads, newest first
    List(ListArgs),
    /// Show one upload
    Show(OneArgs),
    /// Cancel uploads; of a complete one the content is removed
    Cancel(EndArgs),
    /// End the time of anybody's uploads, as an operator; of a complete one the content is removed
    Expire(ExpireArgs),
}

/// Whose uploads.
#[derive(Debug, Clone, Args)]
struct Reach {
    /// Reach everybody's uploads, as an operator; needs a key with the scope admin
    #[arg(long)]
    all: bool,
}

impl Reach {
    fn path(&self) -> &'static str {
        if self.all { "/api/v1/admin/uploads" } else { "/api/v1/uploads" }
    }
}

#[derive(Debug, Clone, Args)]
struct ListArgs {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    reach: Reach,
    /// Only uploads whose name, owner or id is like this
    #[arg(long, value_name = "TEXT", requires = "all")]
    search: Option<String>,
    /// Only uploads in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct OneArgs {
    /// The upload's id, with or without dashes
    id: UploadId,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    reach: Reach,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct EndArgs {
    /// The uploads' ids, with or without dashes
    #[arg(required = true, value_name = "ID")]
    ids: Vec<UploadId>,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Clone, Args)]
struct ExpireArgs {
    /// The uploads' ids, with or without dashes
    #[arg(required = true, value_name = "ID")]
    ids: Vec<UploadId>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum State {
    Receiving,
    Complete,
    Cancelled,
    Expired,
}

/// Does what was asked.
///
/// # Errors
/// What the service said, or why it could not be asked.
pub async fn run(args: &UploadsArgs) -> Result<(), Failure> {
    match &args.deed {
        Deed::List(args) => list(args).await,
        Deed::Show(args) => show(args).await,
        Deed::Cancel(args) if args.reach.all => end(&args.ids, &args.connect, "cancel", "cancelled").await,
        Deed::Cancel(args) => cancel(args).await,
        Deed::Expire(args) => end(&args.ids, &args.connect, "expire", "expired").await,
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let client = Client::new(&args.connect)?;
    let mut uploads = Vec::new();
    let mut cursor = None;
    while uploads.len() < args.limit {
        let path = page_path(args, args.limit - uploads.len(), cursor.as_deref());
        let answer = expect(&client, client.get(&path).await)?;
        let page = answer.json.get("uploads").and_then(Value::as_array).cloned().unwrap_or_default();
        uploads.extend(page);
        cursor = answer.text("next_cursor").map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    uploads.truncate(args.limit);
    if args.json {
        uploads.iter().for_each(|upload| print(&format!("{upload}\n")));
    } else {
        print(&table(&uploads, args.reach.all));
    }
    if cursor.is_some() {
        eprintln!("there are more; raise --limit");
    }
    Ok(())
}

fn page_path(args: &ListArgs, left: usize, cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &left.min(PAGE).to_string());
    if let Some(name) = args.state.as_ref().and_then(ValueEnum::to_possible_value) {
        query.append_pair("state", name.get_name());
    }
    if let Some(cursor) = cursor {
        query.append_pair("cursor", cursor);
    }
    if let Some(text) = &args.search {
        query.append_pair("search", text);
    }
    format!("{}?{}", args.reach.path(), query.finish())
}

async fn show(args: &OneArgs) -> Result<(), Failure> {
    let client = Client::new(&args.connect)?;
    let answer = expect(&client, client.get(&format!("{}/{}", args.reach.path(), args.id)).await)?;
    if args.json {
        print(&format!("{}\n", answer.json));
        return Ok(());
    }
    for (name, value) in answer.json.as_object().into_iter().flatten() {
        print(&format!("{name:<10}  {}\n", text(value)));
    }
    // Operators do not read what is in other people's uploads.
    if !args.reach.all {
        print(&format!("{:<10}  {}/api/v1/uploads/{}/content\n", "url", client.base(), args.id));
    }
    Ok(())
}

async fn cancel(args: &EndArgs) -> Result<(), Failure> {
    let ask = async |client: &Client, id| client.delete(&format!("/api/v1/uploads/{id}")).await;
    each(&args.ids, &args.connect, ask, "cancelled").await
}

/// Ends uploads as an operator.
async fn end(ids: &[UploadId], connect: &Connect, how: &str, done: &str) -> Result<(), Failure> {
    let ask = async |client: &Client, id| client.post(&format!("/api/v1/admin/uploads/{id}/{how}")).await;
    each(ids, connect, ask, done).await
}

/// Asks for a deed to each upload; one that fails does not stop the others.
async fn each(
    ids: &[UploadId],
    connect: &Connect,
    ask: impl AsyncFn(&Client, UploadId) -> Result<Answer, String>,
    done: &str,
) -> Result<(), Failure> {
    let client = Client::new(connect)?;
    let mut failed = false;
    for id in ids {
        match expect(&client, ask(&client, *id).await) {
            Ok(_) => print(&format!("{id} {done}\n")),
            Err(Failure::Failed(sentence)) => {
                failed = true;
                eprintln!("chunkgate: {id}: {sentence}");
            }
            Err(other) => return Err(other),
        }
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}

/// An answer of success, or the sentence that says what it was instead.
fn expect(client: &Client, answer: Result<Answer, String>) -> Result<Answer, Failure> {
    let base = client.base();
    let answer = answer.map_err(|error| format!("{base} cannot be reached: {error}"))?;
    match answer.status {
        200..=299 => Ok(answer),
        404 if answer.is_problem => Err(Failure::Failed("no such upload, or it is not yours".into())),
        _ => Err(Failure::Failed(format!("{base} refused: {}", answer.reason()))),
    }
}

/// With their owners, if they are everybody's.
fn table(uploads: &[Value], all: bool) -> String {
    let owned = |name: &str| if all { format!("{name:<16}  ") } else { String::new() };
    let (owner, created) = (owned("OWNER"), "CREATED");
    let mut text = format!("{:<36}  {:<9}  {:>10}  {:>5}  {created:<20}  {owner}NAME\n", "ID", "STATE", "SIZE", "DONE");
    for upload in uploads {
        let field = |name: &str| self::text(upload.get(name).unwrap_or(&Value::Null));
        let size = upload.get("size").and_then(Value::as_u64).map_or("?".into(), bytes);
        let percent = upload.get("percent").and_then(Value::as_f64).map_or("?".into(), |part| format!("{part:.0}%"));
        let created: String = field("created").chars().take(19).collect();
        let owner = owned(&self::text(upload.pointer("/owner/username").unwrap_or(&Value::Null)));
        text += &format!(
            "{:<36}  {:<9}  {size:>10}  {percent:>5}  {created:<20}  {owner}{}\n",
            field("id"),
            field("state"),
            field("filename"),
        );
    }
    text
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// A size for people.
pub(super) fn bytes(size: u64) -> String {
    bytesize::ByteSize::b(size).display().iec().to_string()
}
