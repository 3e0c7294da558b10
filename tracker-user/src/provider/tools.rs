//! Which tools a response calls.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{dialect::Owner, wire_text};

/// Names that are kept; a response that calls more tools is only followed so far.
const MAX_TOOLS: usize = 64;

/// Puts tool calls together from pieces that may name them once, always or late.
#[derive(Default)]
pub(super) struct Tools {
    names: Vec<String>,
    server_names: Vec<String>,
    known: Vec<Known>,
    /// Calls whose choice or number is not known before their document has ended.
    pending: Vec<Piece>,
    current: Option<Piece>,
    /// Number said beside the piece, for the whole document.
    document_index: Option<u32>,
}

/// Ids are only compared.
type IdHash = u64;

/// One call that has been counted.
struct Known {
    choice: u32,
    index: Option<u32>,
    id: Option<IdHash>,
}

#[derive(Default)]
struct Piece {
    index: Option<u32>,
    id: Option<IdHash>,
    name: Option<String>,
    owner: Owner,
}

impl Tools {
    pub(super) fn begin(&mut self, index: Option<u32>) {
        self.current = Some(Piece { index, ..Piece::default() });
    }

    pub(super) fn index(&mut self, index: Option<u32>) {
        match &mut self.current {
            Some(piece) => piece.index = index,
            None => self.document_index = index,
        }
    }

    pub(super) fn id(&mut self, id: &str) {
        if let Some(piece) = self.current.as_mut().filter(|_| !id.is_empty()) {
            let mut hasher = DefaultHasher::new();
            id.hash(&mut hasher);
            piece.id = Some(hasher.finish());
        }
    }

    pub(super) fn kind(&mut self, kind: &str, owner: Owner) {
        if let Some(piece) = &mut self.current {
            piece.owner = owner;
            if owner == (Owner::Server { named_by_kind: true }) {
                piece.name = Some(wire_text(kind));
            }
        }
    }

    pub(super) fn name(&mut self, name: &str) {
        let named = Owner::Server { named_by_kind: true };
        if let Some(piece) = self.current.as_mut().filter(|piece| !name.is_empty() && piece.owner != named) {
            piece.name = Some(wire_text(name));
        }
    }

    /// A tool of the provider's was used.
    pub(super) fn server(&mut self, name: &'static str) {
        if self.server_names.len() < MAX_TOOLS {
            self.server_names.push(name.to_owned());
        }
    }

    /// The piece is over. Returns whether it named a tool of the client's.
    pub(super) fn end(&mut self) -> bool {
        let Some(piece) = self.current.take() else { return false };
        // Pieces without a name continue a call; some vendors send empty names on every answer.
        let named = piece.name.is_some() && piece.owner != Owner::Nobody;
        let client = piece.owner == Owner::Client;
        if named && self.pending.len() < MAX_TOOLS {
            self.pending.push(piece);
        }
        named && client
    }

    pub(super) const fn document_index(&self) -> Option<u32> {
        self.document_index
    }

    /// The choice of the pending pieces is known: counts those that begin a new call.
    pub(super) fn settle(&mut self, choice: u32, index: Option<u32>) {
        self.document_index = None;
        for piece in self.pending.drain(..) {
            let index = piece.index.or(index);
            let same = self.known.iter_mut().rev().find(|known| {
                known.choice == choice
                    && match (known.index, index) {
                        (Some(known), Some(index)) => known == index,
                        _ => known.id.is_some() && known.id == piece.id,
                    }
            });
            if let Some(known) = same {
                // A new id under an old number is a new call.
                if piece.id.is_none() || known.id.is_none() || known.id == piece.id {
                    continue;
                }
                known.id = piece.id;
            } else if self.known.len() < MAX_TOOLS {
                self.known.push(Known { choice, index, id: piece.id });
            } else {
                continue;
            }
            let names = match piece.owner {
                Owner::Client => &mut self.names,
                Owner::Server { .. } | Owner::Nobody => &mut self.server_names,
            };
            if let Some(name) = piece.name.filter(|_| names.len() < MAX_TOOLS) {
                names.push(name);
            }
        }
    }

    pub(super) fn abandon(&mut self) {
        self.current = None;
        self.document_index = None;
        self.settle(0, None);
    }

    /// The names so far.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The names, in the order of the calls.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.names)
    }

    /// The names of the provider's own tools, likewise.
    pub(super) fn take_server(&mut self) -> Vec<String> {
        std::mem::take(&mut self.server_names)
    }
}
