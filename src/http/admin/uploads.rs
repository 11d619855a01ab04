//! Uploads of every owner.

use axum::{Json, extract::State};
use serde::Serialize;

use super::{
    Operating,
    ask::{Asked, Named, Page, bad},
};
use crate::{
    domain::{Timestamp, UploadId, UserId, upload::State as UploadState},
    http::{
        paging,
        problem::Problem,
        shown::{self, show as show_upload},
    },
    uploads::operators::{AllUploads, Ending, OwnedUpload, Search},
};

/// An upload as its owner sees it, and what operators see besides.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    upload: shown::Shown,
    owner: Option<Owner>,
    content_type: Option<String>,
    updated: Timestamp,
}

#[derive(Serialize)]
struct Owner {
    id: String,
    realm: String,
    username: String,
}

#[derive(Serialize)]
pub(super) struct Listed {
    uploads: Vec<Shown>,
    next_cursor: Option<String>,
}

pub(super) async fn list(
    Operating(by): Operating,
    State(all): State<AllUploads>,
    asked: Asked,
) -> Result<Json<Listed>, Problem> {
    let Page { text, after, limit } = asked.page::<UploadId>()?;
    let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let state = named(&asked.state).map(|name| {
        UploadState::named(&name).ok_or_else(|| bad("state is one of receiving, complete, cancelled, expired"))
    });
    let owner = named(&asked.user).map(|id| id.parse::<UserId>().map_err(|_| bad("user is the id of a user")));
    let page = Search { text, after, limit: limit + 1 };
    let mut found = all.list(&by, &page, owner.transpose()?, state.transpose()?).await?;
    let next_cursor = paging::cut(&mut found, limit, |row| (row.upload.created, row.upload.id.simple()));
    let now = all.now();
    Ok(Json(Listed { uploads: found.into_iter().map(|row| shown(row, now)).collect(), next_cursor }))
}

pub(super) async fn show(
    Operating(by): Operating,
    State(all): State<AllUploads>,
    Named(id): Named<UploadId>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(shown(all.show(&by, id).await?, all.now())))
}

pub(super) async fn cancel(
    Operating(by): Operating,
    State(all): State<AllUploads>,
    Named(id): Named<UploadId>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(shown(all.end(&by, id, Ending::Cancel).await?, all.now())))
}

pub(super) async fn expire(
    Operating(by): Operating,
    State(all): State<AllUploads>,
    Named(id): Named<UploadId>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(shown(all.end(&by, id, Ending::Expire).await?, all.now())))
}

fn shown(row: OwnedUpload, now: Timestamp) -> Shown {
    let owner = row.owner.map(|user| Owner { id: user.id.to_string(), realm: user.realm, username: user.username });
    let upload = show_upload(&row.upload, now);
    Shown { upload, owner, content_type: row.upload.content_type, updated: row.upload.updated }
}
