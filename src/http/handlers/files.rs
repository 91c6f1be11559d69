//! The files of a session: bring one, fetch one.

use crate::domain::files::FileKey;
use crate::domain::ids::SessionId;
use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::handlers::request::ApiRequest;
use crate::http::headers;
use crate::http::jobs::OtherRequest;
use crate::http::problem::HttpProblem;

/// A body that is a file, whose type its header tells.
pub(super) fn bring(id: SessionId, request: &dyn ApiRequest) -> Result<OtherRequest, HttpProblem> {
    if request.body().is_empty() {
        let detail = "the file is empty: send its bytes as the body";
        return Err(HttpProblem::new(400, detail));
    }
    Ok(OtherRequest::KeepFile {
        id,
        media_type: headers::file_type(request.header("Content-Type"))?,
    })
}

/// A file as it was brought, and nothing that a browser would run or show as a page of ours.
pub(super) fn fetch(
    context: &ApiContext,
    id: &SessionId,
    file: &FileKey,
) -> Result<Answer, HttpProblem> {
    let bytes = context.sessions.read_file(id, file)?;
    let (_, ending) = file.as_str().split_once('.').unwrap_or_default();
    let name = format!("{}.{ending}", &file.sha256()[..8]);
    Ok(Answer::bytes(file.media_type().as_str(), bytes)
        .with_header(
            "Content-Disposition",
            format!("attachment; filename=\"{name}\""),
        )
        .with_header("X-Content-Type-Options", "nosniff")
        .with_header("Content-Security-Policy", "default-src 'none'; sandbox")
        .with_header("Cache-Control", "private"))
}
