//! How terminals share a tab: a tree of halves with one rule between them.

use ratatui::layout::Rect;

use super::terminals::PaneId;

/// A tree of panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One pane.
    Leaf(PaneId),
    /// Two parts.
    Split {
        /// Side by side, or one below the other.
        beside: bool,
        /// Left or upper.
        first: Box<Layout>,
        /// Right or lower.
        second: Box<Layout>,
    },
}

/// A direction to move the focus in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Direction {
    Left,
    Down,
    Up,
    Right,
}

/// Where everything stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Panes and their areas.
    pub panes: Vec<(PaneId, Rect)>,
    /// Rules between them, one cell thick.
    pub rules: Vec<Rect>,
}

impl Layout {
    /// Puts a new pane beside or below `target`.
    pub fn split(&mut self, target: PaneId, new: PaneId, side_by_side: bool) {
        match self {
            Self::Leaf(id) if *id == target => {
                *self = Self::Split {
                    beside: side_by_side,
                    first: Box::new(Self::Leaf(target)),
                    second: Box::new(Self::Leaf(new)),
                };
            }
            Self::Leaf(_) => {}
            Self::Split { first, second, .. } => {
                first.split(target, new, side_by_side);
                second.split(target, new, side_by_side);
            }
        }
    }

    /// The tree without a pane; `None` when that was the last.
    pub fn without(self, gone: PaneId) -> Option<Self> {
        match self {
            Self::Leaf(id) => (id != gone).then_some(Self::Leaf(id)),
            Self::Split { beside, first, second } => match (first.without(gone), second.without(gone)) {
                (Some(a), Some(b)) => Some(Self::Split { beside, first: Box::new(a), second: Box::new(b) }),
                (one, other) => one.or(other),
            },
        }
    }

    /// All panes, left to right and top to bottom.
    pub fn panes(&self) -> Vec<PaneId> {
        match self {
            Self::Leaf(id) => vec![*id],
            Self::Split { first, second, .. } => [first.panes(), second.panes()].concat(),
        }
    }

    /// Shares out an area.
    pub fn place(&self, area: Rect) -> Placed {
        let mut out = Placed::default();
        self.place_into(area, &mut out);
        out
    }

    fn place_into(&self, area: Rect, out: &mut Placed) {
        match self {
            Self::Leaf(id) => out.panes.push((*id, area)),
            Self::Split { beside: true, first, second } => {
                let left = area.width.saturating_sub(1) / 2;
                let rule = u16::from(area.width > left);
                let right = area.width - left - rule;
                first.place_into(Rect { width: left, ..area }, out);
                out.rules.push(Rect { x: area.x + left, width: rule, ..area });
                second.place_into(Rect { x: area.x + left + rule, width: right, ..area }, out);
            }
            Self::Split { beside: false, first, second } => {
                let top = area.height.saturating_sub(1) / 2;
                let rule = u16::from(area.height > top);
                let bottom = area.height - top - rule;
                first.place_into(Rect { height: top, ..area }, out);
                out.rules.push(Rect { y: area.y + top, height: rule, ..area });
                second.place_into(Rect { y: area.y + top + rule, height: bottom, ..area }, out);
            }
        }
    }
}

impl Placed {
    /// The area of a pane.
    pub fn area(&self, id: PaneId) -> Option<Rect> {
        self.panes.iter().find(|(p, _)| *p == id).map(|(_, r)| *r)
    }

    /// The pane next to `from` in a direction: the one that shares most of its border, nearest first.
    pub fn neighbour(&self, from: PaneId, direction: Direction) -> Option<PaneId> {
        let here = self.area(from)?;
        let overlap = |a0: u16, a1: u16, b0: u16, b1: u16| a1.min(b1).saturating_sub(a0.max(b0));
        self.panes
            .iter()
            .filter(|(id, _)| *id != from)
            .filter_map(|(id, there)| {
                let (distance, shared) = match direction {
                    Direction::Left => (here.left().checked_sub(there.right())?, None),
                    Direction::Right => (there.left().checked_sub(here.right())?, None),
                    Direction::Up => (here.top().checked_sub(there.bottom())?, Some(())),
                    Direction::Down => (there.top().checked_sub(here.bottom())?, Some(())),
                };
                let shared = match shared {
                    None => overlap(here.top(), here.bottom(), there.top(), there.bottom()),
                    Some(()) => overlap(here.left(), here.right(), there.left(), there.right()),
                };
                (shared > 0).then_some((distance, std::cmp::Reverse(shared), *id))
            })
            .min()
            .map(|(_, _, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn focus_moves_to_the_neighbour_that_is_seen_there() {
        let mut l = Layout::Leaf(PaneId(1));
        l.split(PaneId(1), PaneId(2), true);
        l.split(PaneId(2), PaneId(3), false);
        let placed = l.place(Rect::new(0, 0, 81, 24));
        assert_eq!(placed.neighbour(PaneId(1), Direction::Right), Some(PaneId(3)));
        assert_eq!(placed.neighbour(PaneId(2), Direction::Down), Some(PaneId(3)));
        assert_eq!(placed.neighbour(PaneId(3), Direction::Left), Some(PaneId(1)));
        assert_eq!(placed.neighbour(PaneId(1), Direction::Up), None);
        assert_eq!(l.without(PaneId(2)).unwrap().panes(), vec![PaneId(1), PaneId(3)]);
    }

    proptest! {
        #[test]
        fn panes_and_rules_cover_the_area_exactly(splits in prop::collection::vec((0usize..8, any::<bool>()), 0..7), w in 0u16..200, h in 0u16..60) {
            let mut l = Layout::Leaf(PaneId(0));
            for (i, (at, beside)) in splits.iter().enumerate() {
                let panes = l.panes();
                l.split(panes[at % panes.len()], PaneId(i as u64 + 1), *beside);
            }
            let placed = l.place(Rect::new(0, 0, w, h));
            let cells: u32 = placed.panes.iter().map(|(_, r)| r.area()).chain(placed.rules.iter().map(|r| r.area())).sum();
            prop_assert_eq!(cells, u32::from(w) * u32::from(h));
            prop_assert_eq!(placed.panes.len(), splits.len() + 1);
        }
    }
}
