//! Commands: everything a key, the palette or the actions menu can ask for.
//!
//! Each has an id (used in keymap files), a word for the hint line, a sentence for help and
//! palette, and the API call it makes, if any.

macro_rules! commands {
    ($($variant:ident = $id:literal, $hint:literal, $title:literal, $api:literal;)+) => {
        /// Something a person can ask for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // `title` documents each.
        pub enum Command { $($variant),+ }

        impl Command {
            /// All commands, in the order help lists them.
            pub const ALL: &'static [Command] = &[$(Command::$variant),+];

            /// The id used in keymap files.
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),+ }
            }

            /// A word or two for the hint line.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint),+ }
            }

            /// A sentence for help and palette.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            /// Method and path of the API call it makes; empty when it makes none.
            pub fn api(self) -> &'static str {
                match self { $(Self::$variant => $api),+ }
            }
        }
    };
}

commands! {
    Open = "open", "open", "open the selection: a terminal, a directory, the files of a moment", "";
    Terminal = "terminal", "terminal", "open a terminal in the selected container", "GET …-terminal-1…/api/v1/terminal/ws";
    New = "new", "new", "create a container", "POST /api/v1/projects/{id}/containers";
    NewProject = "new-project", "new project", "create a project", "POST /api/v1/projects/";
    Snapshot = "snapshot", "snapshot", "take a snapshot", "POST /api/v1/containers/{id}/snapshots";
    Restore = "restore", "restore", "go back to a snapshot", "PATCH /api/v1/containers/{id}/snapshots/{name}";
    UndoRestore = "undo-restore", "undo restore", "undo the last restore", "PATCH /api/v1/containers/{id}/snapshots/{name}";
    Snapshots = "snapshots", "snapshots", "list the container's snapshots", "GET /api/v1/containers/{id}/snapshots";
    Files = "files", "files", "list the selection's files", "GET …-files-1…/api/v1/files/";
    Start = "start", "start", "start the container", "POST /api/v1/containers/{id}/start";
    Stop = "stop", "stop", "stop the container", "POST /api/v1/containers/{id}/stop";
    Restart = "restart", "restart", "restart the container", "POST /api/v1/containers/{id}/restart";
    ForceStop = "force-stop", "kill", "kill the container at once", "POST /api/v1/containers/{id}/force-stop";
    Pause = "pause", "pause", "freeze the container in memory", "POST /api/v1/containers/{id}/pause";
    Resume = "resume", "resume", "thaw the container", "POST /api/v1/containers/{id}/resume";
    Delete = "delete", "delete", "delete, once its name is typed", "DELETE /api/v1/containers/{id}";
    Sleep = "sleep", "sleep", "sleep until it is asked for", "POST /api/v1/containers/{id}/sleep";
    Shares = "shares", "shares", "list what the container shares and is lent", "GET /api/v1/containers/{id}/storage/shares";
    NewShare = "new-share", "share", "share a directory with another container or a project", "POST /api/v1/containers/{id}/storage/shares";
    ShareMode = "share-mode", "read/write", "let a share be written, or only read", "PATCH …/storage/shares/{share}";
    ShareOffer = "share-offer", "hold back", "hold a share back, or offer it again", "PATCH …/storage/shares/{share}";
    AcceptShare = "accept-share", "accept", "accept a share that is offered", "PATCH …/storage/incoming/{share}/mount";
    RefuseShare = "refuse-share", "refuse", "refuse a share, or stop seeing it", "PATCH …/storage/incoming/{share}/mount";
    Actions = "actions", "actions", "what can be done with the selection", "";
    CopyUrl = "copy-url", "copy URL", "copy the URL of the selection", "";
    OpenUrl = "open-url", "open URL", "open the URL in a browser", "";
    Filter = "filter", "filter", "show only rows that match", "";
    Palette = "palette", "command", "find any action by its name", "";
    Help = "help", "keys", "show the keys that work here", "";
    Projects = "projects", "projects", "choose a project", "GET /api/v1/projects/";
    Sort = "sort", "sort", "sort by the next column", "";
    SortReverse = "sort-reverse", "reverse", "turn the order around", "";
    Mark = "mark", "mark", "mark the row for a batch", "";
    RetryImage = "retry-image", "retry", "build the image again", "POST /api/v1/images/{name}/build";
    Jobs = "jobs", "jobs", "list running and finished work", "";
    Refresh = "refresh", "refresh", "ask the node for everything again", "GET /api/v1/status";
    Mouse = "mouse", "mouse", "capture the mouse, or leave it to the terminal", "";
    Up = "up", "up", "one row up", "";
    Down = "down", "down", "one row down", "";
    PageUp = "page-up", "page up", "one page up", "";
    PageDown = "page-down", "page down", "one page down", "";
    Top = "top", "top", "first row", "";
    Bottom = "bottom", "bottom", "last row", "";
    Back = "back", "back", "back one level", "";
    Quit = "quit", "leave", "leave; the containers go on running", "";
    Accept = "accept", "ok", "accept what was typed", "";
    Cancel = "cancel", "cancel", "cancel", "";
    NextField = "next-field", "next field", "next field", "";
    PreviousField = "previous-field", "previous", "previous field", "";
    NextChoice = "next-choice", "next choice", "next choice", "";
    PreviousChoice = "previous-choice", "previous choice", "previous choice", "";
    Leader = "leader", "leader", "the next key is for the cockpit, not for the program", "";
    SplitRight = "split-right", "beside", "a second terminal to the right", "";
    SplitDown = "split-down", "below", "a second terminal below", "";
    FocusLeft = "focus-left", "left", "go to the terminal on the left", "";
    FocusDown = "focus-down", "down", "go to the terminal below", "";
    FocusUp = "focus-up", "up", "go to the terminal above", "";
    FocusRight = "focus-right", "right", "go to the terminal on the right", "";
    Zoom = "zoom", "zoom", "show one terminal alone, or all again", "";
    NewTerminal = "new-terminal", "new", "another terminal in this container", "";
    NextTerminal = "next-terminal", "next", "next tab", "";
    PreviousTerminal = "previous-terminal", "previous", "previous tab", "";
    ScrollBack = "scroll-back", "scroll", "look at what scrolled away", "";
    Detach = "detach", "detach", "back to the list; the shell goes on", "";
    CloseTerminal = "close-terminal", "close", "close the view of this terminal; the shell goes on", "";
}

impl Command {
    /// The command with this id.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.id() == id)
    }

    /// Whether it makes sense in the palette: moving about and editing text does not.
    pub fn in_palette(self) -> bool {
        let first = Self::Open as usize;
        let last = Self::Mouse as usize;
        (first..=last).contains(&(self as usize)) || self == Self::Quit
    }
}
