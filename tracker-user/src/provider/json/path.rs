//! The paths a dialect asks for, as a trie.

/// What is wanted of the value at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Number, boolean, null or string, the string copied up to a bound.
    Scalar,
    /// Only that something is there: begin and end of objects and arrays, and that a string is
    /// not empty. Nothing is copied.
    Presence,
    /// The same, and the string itself piece by piece, escapes left as they are.
    Text,
    /// The same of everything inside the value too, and its keys and numbers; save what a longer path or,
    /// at any depth, a path that begins with `**.` says of a key.
    Within,
    /// The same, whatever a path with `**.` says.
    Everything,
}

impl Want {
    #[inline]
    pub(super) const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Within | Self::Everything)
    }
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
    /// Where keys and elements lead that nothing else is known of: to a node that leads to itself, where
    /// everything inside is wanted.
    inside: NodeId,
    leaf: Option<(Want, F)>,
}

impl<F> Node<F> {
    const fn new() -> Self {
        Self { keys: Vec::new(), lengths: 0, elements: NOWHERE, inside: NOWHERE, leaf: None }
    }

    #[inline]
    fn key(&self, key: &[u8]) -> Option<NodeId> {
        if self.lengths & length_bit(key.len()) == 0 {
            return None;
        }
        self.keys.iter().find(|(name, _)| **name == *key).map(|&(_, id)| id)
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
        let mut anywhere = Vec::new();
        for (path, want, field) in paths {
            if let Some(key) = path.as_ref().strip_prefix("**.") {
                anywhere.push((key.to_owned(), want, field));
                continue;
            }
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
        table.inherit(ROOT, NOWHERE, &anywhere);
        table
    }

    /// Gives the nodes below `at` what is wanted of everything inside it: `inside`, unless the node says
    /// something else.
    fn inherit(&mut self, at: NodeId, mut inside: NodeId, anywhere: &[(String, Want, F)]) {
        let node = &self.nodes[usize::from(at)];
        let children: Vec<_> = node.keys.iter().map(|&(_, id)| id).chain([node.elements]).collect();
        match node.leaf {
            Some((want @ (Want::Within | Want::Everything), field)) => {
                inside = self.add();
                self.nodes[usize::from(inside)].leaf = Some((want, field));
                self.nodes[usize::from(inside)].inside = inside;
                let anywhere = if want == Want::Within { anywhere } else { &[] };
                for (key, want, field) in anywhere {
                    let id = self.key(inside, key);
                    self.nodes[usize::from(id)].leaf = Some((*want, *field));
                }
            }
            // Of the value itself; what is inside it stays wanted.
            Some((Want::Presence, _)) => {}
            Some(_) => inside = NOWHERE,
            None if inside != NOWHERE => {
                self.nodes[usize::from(at)].leaf = self.nodes[usize::from(inside)].leaf;
            }
            None => {}
        }
        self.nodes[usize::from(at)].inside = inside;
        for child in children.into_iter().filter(|&child| child != NOWHERE && child != at) {
            self.inherit(child, inside, anywhere);
        }
    }

    fn add(&mut self) -> NodeId {
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(NOWHERE);
        debug_assert_ne!(id, NOWHERE, "a path table is a few dozen nodes");
        self.nodes.push(Node::new());
        id
    }

    fn key(&mut self, at: NodeId, key: &str) -> NodeId {
        if let Some(found) = self.nodes[usize::from(at)].key(key.as_bytes()) {
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
        match node.key(key) {
            Some(id) => id,
            None if node.inside == NOWHERE || node.inside == at => node.inside,
            None => self.child(node.inside, key),
        }
    }

    /// Whether a path leads through `at`.
    #[inline]
    pub(in crate::provider) fn is_inner(&self, at: NodeId) -> bool {
        self.nodes.get(usize::from(at)).is_some_and(|node| node.lengths != 0)
    }

    /// The node of the elements of the array at `at`, or [`NOWHERE`].
    #[inline]
    pub(super) fn elements(&self, at: NodeId) -> NodeId {
        let Some(node) = self.nodes.get(usize::from(at)) else { return NOWHERE };
        if node.elements == NOWHERE { node.inside } else { node.elements }
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
