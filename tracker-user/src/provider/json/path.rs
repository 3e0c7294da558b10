//! The paths a dialect asks for, as a trie.

/// What is wanted of the value at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Number, boolean, null or string, the string copied up to a bound.
    Scalar,
    /// Only that something is there: begin and end of objects and arrays, and that a string is
    /// not empty. Nothing is copied.
    Presence,
    /// The string itself, piece by piece, escapes left as they are.
    Pieces,
}

/// Index of a node in its table.
pub(in crate::provider) type NodeId = u16;

/// "No path leads here": everything below is skipped.
pub(in crate::provider) const NOWHERE: NodeId = NodeId::MAX;

/// The root is always the first node.
pub(in crate::provider) const ROOT: NodeId = 0;

#[derive(Clone, Debug)]
struct Node<F> {
    keys: Vec<(Box<[u8]>, NodeId)>,
    /// Bit `n` is set when some key is `n` bytes long (63 and more share a bit): most keys of a
    /// body are turned away by this alone.
    lengths: u64,
    elements: NodeId,
    leaf: Option<(Want, F)>,
}

impl<F> Node<F> {
    const fn new() -> Self {
        Self { keys: Vec::new(), lengths: 0, elements: NOWHERE, leaf: None }
    }
}

/// A set of paths, compiled once and shared by all scanners.
#[derive(Clone, Debug)]
pub struct PathTable<F> {
    nodes: Vec<Node<F>>,
}

impl<F: Copy> PathTable<F> {
    /// Compiles paths such as `usage.prompt_tokens` or `choices[].delta.tool_calls[].index`; the
    /// empty path is the document itself.
    ///
    /// The elements of a top-level array count as documents, so one table serves a single
    /// document, concatenated ones and a streamed array.
    #[must_use]
    pub fn compile(paths: impl IntoIterator<Item = (impl AsRef<str>, Want, F)>) -> Self {
        let mut table = Self { nodes: vec![Node::new()] };
        table.nodes[usize::from(ROOT)].elements = ROOT;
        for (path, want, field) in paths {
            let mut at = ROOT;
            for part in path.as_ref().split('.').filter(|part| !part.is_empty()) {
                let key = part.trim_end_matches("[]");
                at = table.key(at, key);
                for _ in 0..(part.len() - key.len()) / 2 {
                    at = table.elements_of(at);
                }
            }
            table.nodes[usize::from(at)].leaf = Some((want, field));
        }
        table
    }

    fn add(&mut self) -> NodeId {
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(NOWHERE);
        debug_assert_ne!(id, NOWHERE, "a path table is a few dozen nodes");
        self.nodes.push(Node::new());
        id
    }

    fn key(&mut self, at: NodeId, key: &str) -> NodeId {
        let found = self.child(at, key.as_bytes());
        if found != NOWHERE {
            return found;
        }
        let id = self.add();
        let node = &mut self.nodes[usize::from(at)];
        node.keys.push((key.as_bytes().into(), id));
        node.lengths |= length_bit(key.len());
        id
    }

    fn elements_of(&mut self, at: NodeId) -> NodeId {
        let found = self.nodes[usize::from(at)].elements;
        if found != NOWHERE {
            return found;
        }
        let id = self.add();
        self.nodes[usize::from(at)].elements = id;
        id
    }

    /// The node that `key` leads to from `at`, or [`NOWHERE`].
    #[inline]
    pub(in crate::provider) fn child(&self, at: NodeId, key: &[u8]) -> NodeId {
        let Some(node) = self.nodes.get(usize::from(at)) else { return NOWHERE };
        if node.lengths & length_bit(key.len()) == 0 {
            return NOWHERE;
        }
        node.keys.iter().find(|(name, _)| **name == *key).map_or(NOWHERE, |&(_, id)| id)
    }

    /// Whether a path leads through `at`.
    #[inline]
    pub(in crate::provider) fn is_inner(&self, at: NodeId) -> bool {
        self.nodes.get(usize::from(at)).is_some_and(|node| node.lengths != 0)
    }

    /// The node of the elements of the array at `at`, or [`NOWHERE`].
    #[inline]
    pub(super) fn elements(&self, at: NodeId) -> NodeId {
        self.nodes.get(usize::from(at)).map_or(NOWHERE, |node| node.elements)
    }

    /// What is wanted of the value at `at`.
    #[inline]
    pub(in crate::provider) fn leaf(&self, at: NodeId) -> Option<(Want, F)> {
        self.nodes.get(usize::from(at)).and_then(|node| node.leaf)
    }
}

#[inline]
const fn length_bit(len: usize) -> u64 {
    1 << if len < 63 { len } else { 63 }
}
