//! What Zed asks an extension for: where the server is, and which settings it is given.

use zed_extension_api::{self as zed, serde_json, settings::LspSettings};

struct Dlm;

impl zed::Extension for Dlm {
    fn new() -> Self {
        Dlm
    }

    fn language_server_command(
        &mut self,
        _server: &zed::LanguageServerId,
        worktree: &zed::Worktree,
    ) -> zed::Result<zed::Command> {
        let command = worktree
            .which("dlm-server")
            .ok_or("dlm-server is not on the PATH: pip install dlm")?;
        Ok(zed::Command {
            command,
            args: Vec::new(),
            env: worktree.shell_env(),
        })
    }

    /// `lsp.dlm.settings` of Zed's settings. Zed answers the server's question for its section
    /// with what is under that name here.
    fn language_server_workspace_configuration(
        &mut self,
        server: &zed::LanguageServerId,
        worktree: &zed::Worktree,
    ) -> zed::Result<Option<serde_json::Value>> {
        let settings = LspSettings::for_worktree(server.as_ref(), worktree)?.settings;
        Ok(Some(serde_json::json!({ "dlm": settings })))
    }
}

zed::register_extension!(Dlm);
