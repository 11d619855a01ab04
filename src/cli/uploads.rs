//! `chunkgate uploads`: one's own uploads, over native JSON.

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
    Cancel(CancelArgs),
}

#[derive(Debug, Clone, Args)]
struct ListArgs {
    #[command(flatten)]
    connect: Connect,
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct CancelArgs {
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
        Deed::Cancel(args) => cancel(args).await,
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
        print(&table(&uploads));
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
    format!("/api/v1/uploads?{}", query.finish())
}

async fn show(args: &OneArgs) -> Result<(), Failure> {
    let client = Client::new(&args.connect)?;
    let answer = expect(&client, client.get(&format!("/api/v1/uploads/{}", args.id)).await)?;
    if args.json {
        print(&format!("{}\n", answer.json));
        return Ok(());
    }
    for (name, value) in answer.json.as_object().into_iter().flatten() {
        print(&format!("{name:<10}  {}\n", text(value)));
    }
    print(&format!("{:<10}  {}/api/v1/uploads/{}/content\n", "url", client.base(), args.id));
    Ok(())
}

async fn cancel(args: &CancelArgs) -> Result<(), Failure> {
    let client = Client::new(&args.connect)?;
    let mut failed = false;
    for id in &args.ids {
        match expect(&client, client.delete(&format!("/api/v1/uploads/{id}")).await) {
            Ok(_) => print(&format!("{id} cancelled\n")),
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

fn table(uploads: &[Value]) -> String {
    let mut text = format!("{:<36}  {:<9}  {:>10}  {:>5}  {:<20}  NAME\n", "ID", "STATE", "SIZE", "DONE", "CREATED");
    for upload in uploads {
        let field = |name: &str| self::text(upload.get(name).unwrap_or(&Value::Null));
        let size = upload.get("size").and_then(Value::as_u64).map_or("?".into(), bytes);
        let percent = upload.get("percent").and_then(Value::as_f64).map_or("?".into(), |part| format!("{part:.0}%"));
        let created: String = field("created").chars().take(19).collect();
        text += &format!(
            "{:<36}  {:<9}  {size:>10}  {percent:>5}  {created:<20}  {}\n",
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
