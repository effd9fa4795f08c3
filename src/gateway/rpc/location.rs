//! Where files are: `torrent-set-location`, `torrent-rename-path`, `free-space`, and the directories that are named to us. All
//! looks at a disk are the workers'.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::envelope::{Output, RpcError};
use super::names::Family;
use super::params::{self, Params};
use super::{Rpc, strange};
use crate::engine::library::{Change, Rename};
use crate::engine::message::{Answer, Message, Survey, Surveyed};

impl Rpc {
    pub(super) async fn torrent_set_location(&self, params: &Params) -> Result<Output, RpcError> {
        let which = params::ids(params)?;
        let location = params::text(params, "location")?.filter(|path| !path.is_empty());
        let location = location.ok_or_else(|| RpcError::params("no location"))?;
        let carry = params::flag(params, "move")?.unwrap_or(false);
        let root = self.directory(Path::new(location), None).await?.path;
        self.change(which, vec![Change::Location { root, carry }])
            .await?;
        Ok(Output::Value(Family::Kebab, json!({})))
    }

    pub(super) async fn torrent_rename_path(&self, params: &Params) -> Result<Output, RpcError> {
        let which = params::ids(params)?;
        let path = params::text(params, "path")?.unwrap_or_default();
        let name = params::text(params, "name")?.unwrap_or_default();
        let snapshot = self.show(which.clone(), false).await?;
        let [torrent] = &*snapshot.torrents else {
            return Err(RpcError::params("torrent-rename-path requires 1 torrent"));
        };
        let rename = Rename {
            path: PathBuf::from(path),
            name: name.to_owned(),
        };
        self.change(which, vec![Change::Rename(rename)]).await?;
        let answer = json!({ "id": torrent.entry.number, "path": path, "name": name });
        Ok(Output::Value(Family::Kebab, answer))
    }

    pub(super) async fn free_space(&self, params: &Params) -> Result<Output, RpcError> {
        let path = params::text(params, "path")?.unwrap_or_default();
        absolute(Path::new(path), "directory path is not absolute")?;
        let found = self.survey(Path::new(path), false, None).await?;
        let value = json!({
            "path": path,
            "size_bytes": found.free,
            "total_size": found.total,
        });
        Ok(Output::Value(Family::Kebab, value))
    }

    /// A directory that is to hold torrents, made if it is missing, as its real path; and whether `file` is in it.
    pub(super) async fn directory(
        &self,
        path: &Path,
        file: Option<PathBuf>,
    ) -> Result<Surveyed, RpcError> {
        absolute(path, "download directory path is not absolute")?;
        self.survey(path, true, file).await
    }

    /// A look at a directory.
    pub(super) async fn survey(
        &self,
        path: &Path,
        make: bool,
        file: Option<PathBuf>,
    ) -> Result<Surveyed, RpcError> {
        let survey = Survey {
            path: path.to_owned(),
            make,
            file,
        };
        match self.ask(Message::Survey(Box::new(survey))).await? {
            Answer::Surveyed(found) => {
                (*found).map_err(|fault| RpcError::new(RpcError::SYSTEM, fault.message))
            }
            _ => Err(strange()),
        }
    }

    /// Free bytes where new torrents go; -1 when the disk does not say, or not in time.
    pub(super) async fn download_space(&self, path: &Path) -> i64 {
        // One that is still to be made is looked for where it will be.
        for path in path.ancestors() {
            match self.survey(path, false, None).await {
                Ok(found) => return i64::try_from(found.free).unwrap_or(i64::MAX),
                Err(fault) if fault.code == RpcError::SYSTEM => {}
                Err(_) => return -1,
            }
        }
        -1
    }
}

fn absolute(path: &Path, text: &str) -> Result<(), RpcError> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(RpcError::new(RpcError::PATH_NOT_ABSOLUTE, text))
    }
}
