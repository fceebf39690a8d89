//! The families of containers: who was made from whom, as trees. Pure.

use std::collections::{HashMap, HashSet};

use super::state::containers::ContainerRow;
use super::state::lineage::Descent;
use cowl_api::ContainerId;
use cowl_api::lineage::{Kin, KinSnapshot, Origin};

/// What is known of all containers.
#[derive(Debug, Default)]
pub struct Known {
    /// Those that are there.
    pub rows: Vec<ContainerRow>,
    /// Lines of descent, oldest first.
    pub descents: Vec<Descent>,
    /// Snapshots, oldest first.
    pub snapshots: Vec<(ContainerId, KinSnapshot)>,
    /// Bytes each has written.
    pub disks: HashMap<ContainerId, u64>,
}

impl Known {
    /// One tree for each container that came from no other that is known of.
    pub fn forest(self) -> Vec<Kin> {
        let mut kin: HashMap<ContainerId, Kin> = HashMap::new();
        let mut order = Vec::new();
        for row in self.rows {
            order.push(row.id);
            let disk = self.disks.get(&row.id).copied();
            kin.insert(
                row.id,
                Kin {
                    id: row.id,
                    name: row.name,
                    project_id: Some(row.project_id),
                    project_alias: Some(row.project_alias),
                    status: Some(row.state),
                    disk,
                    origin: None,
                    snapshots: Vec::new(),
                    branches: Vec::new(),
                },
            );
        }
        let gone = |id: ContainerId, name: String| Kin {
            id,
            name,
            project_id: None,
            project_alias: None,
            status: None,
            disk: None,
            origin: None,
            snapshots: Vec::new(),
            branches: Vec::new(),
        };
        for (id, snapshot) in self.snapshots {
            if let Some(owner) = kin.get_mut(&id) {
                owner.snapshots.push(snapshot);
            }
        }
        let mut children: HashMap<ContainerId, Vec<ContainerId>> = HashMap::new();
        for Descent { id, name, origin } in self.descents {
            let source = origin.source_id;
            for (id, name) in [(source, origin.source_name.clone()), (id, name)] {
                kin.entry(id).or_insert_with(|| {
                    order.push(id);
                    gone(id, name)
                });
            }
            children.entry(source).or_default().push(id);
            if let Some(one) = kin.get_mut(&id) {
                one.origin = Some(origin);
            }
        }
        let roots: Vec<ContainerId> =
            order.into_iter().filter(|id| kin.get(id).is_some_and(|k| k.origin.is_none())).collect();
        roots.into_iter().filter_map(|root| grow(root, &mut kin, &children)).filter(is_of_use).collect()
    }
}

/// A tree of nothing but what is gone tells nobody anything.
fn is_of_use(tree: &Kin) -> bool {
    tree.status.is_some() || below(tree).any(is_of_use)
}

/// What hangs directly on one.
pub fn below(one: &Kin) -> impl Iterator<Item = &Kin> {
    one.snapshots.iter().flat_map(|s| &s.branches).chain(&one.branches)
}

fn grow(
    root: ContainerId,
    kin: &mut HashMap<ContainerId, Kin>,
    children: &HashMap<ContainerId, Vec<ContainerId>>,
) -> Option<Kin> {
    // Taken out of the map, so that no line of descent, however odd, is followed twice.
    let mut one = kin.remove(&root)?;
    for child in children.get(&root).into_iter().flatten() {
        let Some(child) = grow(*child, kin, children) else { continue };
        let from = child.origin.as_ref().and_then(|o| o.source_snapshot.clone());
        match from.and_then(|name| one.snapshots.iter_mut().find(|s| s.name == name)) {
            Some(snapshot) => snapshot.branches.push(child),
            None => one.branches.push(child),
        }
    }
    Some(one)
}

/// The tree that holds a container.
pub fn tree_of(forest: Vec<Kin>, id: &ContainerId) -> Option<Kin> {
    forest.into_iter().find(|tree| find(tree, id).is_some())
}

/// A container in a tree.
pub fn find<'a>(tree: &'a Kin, id: &ContainerId) -> Option<&'a Kin> {
    if tree.id == *id { Some(tree) } else { below(tree).find_map(|k| find(k, id)) }
}

/// Ids of all below one.
pub fn descendants(one: &Kin) -> Vec<ContainerId> {
    below(one).flat_map(|k| [vec![k.id], descendants(k)].concat()).collect()
}

/// Where a container comes from, the nearest first.
pub fn ancestors(tree: &Kin, id: &ContainerId) -> Vec<Origin> {
    let (mut here, mut found, mut seen) = (*id, Vec::new(), HashSet::new());
    while seen.insert(here)
        && let Some(origin) = find(tree, &here).and_then(|k| k.origin.clone())
    {
        here = origin.source_id;
        found.push(origin);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descent(id: ContainerId, source: ContainerId, snapshot: Option<&str>) -> Descent {
        let origin = Origin {
            kind: "branch".into(),
            source_id: source,
            source_name: "source".into(),
            source_snapshot: snapshot.map(str::to_owned),
            taken_at: String::new(),
            synced_at: None,
        };
        Descent { id, name: "gone".into(), origin }
    }

    #[test]
    fn a_family_is_one_tree_also_over_members_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::state::Store::open(&dir.path().join("node.db")).unwrap();
        let project = store.create_project("demo", "#FFF", None, &Default::default()).unwrap().0.id;
        let make = |name: &str| store.create_container(&project, &crate::tests::plain(name)).unwrap().0;
        let (first, last, alone) = (make("first"), make("last"), make("alone"));
        let (middle, dead, cycle) = (ContainerId::generate(), ContainerId::generate(), ContainerId::generate());
        let snapshot =
            KinSnapshot { name: "s".into(), alias: None, created_at: String::new(), size: 0, branches: Vec::new() };
        let known = Known {
            rows: vec![first.clone(), last.clone(), alone.clone()],
            descents: vec![
                descent(middle, first.id, Some("s")),
                descent(last.id, middle, None),
                descent(ContainerId::generate(), dead, None),
                descent(cycle, cycle, None),
            ],
            snapshots: vec![(first.id, snapshot)],
            disks: HashMap::new(),
        };
        let forest = known.forest();
        assert_eq!(forest.iter().map(|t| t.id).collect::<Vec<_>>(), [first.id, alone.id]);
        assert_eq!(forest[0].snapshots[0].branches[0].id, middle);
        assert_eq!(descendants(&forest[0]), [middle, last.id]);
        assert_eq!(ancestors(&forest[0], &last.id).iter().map(|o| o.source_id).collect::<Vec<_>>(), [middle, first.id]);
        assert_eq!(tree_of(forest, &last.id).unwrap().id, first.id);
    }
}
