//! Leaves out of a file of an agent's folder what its owner did not grant.

use std::cell::RefCell;

use crate::base::yaml::expand::Environment;
use crate::base::yaml::pick;
use crate::base::yaml::read::{At, Report, Sift, Variable};
use crate::base::yaml::tree::Node;
use crate::domain::trust::{Brought, Kind, Part, Row, Waiting};
use crate::trust::AgentFolder;

/// Takes out of one file, while it is read, the parts that its owner did not grant, and notes all that
/// it brings: whoever uses the values never sees the others.
pub struct TrustFilter<'a> {
    folder: &'a AgentFolder<'a>,
    file: &'static str,
    rows: &'static [Row],
    environment: Environment<'a>,
    /// Those of this file alone: its rules hang on its other parts.
    brought: RefCell<Vec<Brought>>,
}

impl<'a> TrustFilter<'a> {
    /// For the file of that name in `folder`.
    pub fn new(
        folder: &'a AgentFolder<'a>,
        file: &'static str,
        rows: &'static [Row],
        environment: Environment<'a>,
    ) -> TrustFilter<'a> {
        TrustFilter {
            folder,
            file,
            rows,
            environment,
            brought: RefCell::default(),
        }
    }

    fn part(&self, row: &Row, key: &str, node: &Node) -> Brought {
        let place = match row.kind {
            // Where they stand in the list means nothing.
            Kind::Rule | Kind::Deny | Kind::Mode | Kind::Notify => self.file.to_owned(),
            Kind::Variable
            | Kind::File
            | Kind::Program
            | Kind::Mcp
            | Kind::Address
            | Kind::Setting => format!("{} {key}", self.file),
        };
        let is_known = |url: &str| self.folder.is_known_address(url);
        let content = pick::line_of(node);
        let counts = row.counts_always(&content, &|key| pick::word(node, key), &is_known);
        Brought {
            part: Part {
                kind: row.kind,
                place,
                content,
            },
            needs_trust: !counts,
        }
    }

    /// Does to a value that does not count what its row says, and returns whether any of it stays.
    fn set_aside(&self, row: &Row, key: &str, node: &mut Node, report: &mut Report) -> bool {
        match row.waiting {
            Waiting::LeftOut => false,
            Waiting::Reduced(keys) => {
                pick::keep_keys(node, keys);
                true
            }
            Waiting::Refused => {
                let at = At {
                    value: (),
                    node: node.id,
                    key: key.to_owned(),
                };
                let must = "is an address that counts only with trust: whoever is there would see \
                            all that is said";
                report.hinted_error(&at, must, Some(self.folder.mend()));
                false
            }
        }
    }
}

impl Sift for TrustFilter<'_> {
    fn sift(&self, root: &mut Node, report: &mut Report) {
        for row in self.rows {
            pick::retain(root, row.path, &mut |key, node| {
                let found = self.part(row, key, node);
                // An item of another kind is none.
                if row.kind != Kind::Mcp || found.needs_trust {
                    self.brought.borrow_mut().push(found);
                }
                true
            });
        }
        let granted = self.folder.granted().clone().within(&self.brought.borrow());
        for row in self.rows {
            pick::retain(root, row.path, &mut |key, node| {
                let found = self.part(row, key, node);
                let counts = !found.needs_trust || granted.counts(&found.part);
                counts || self.set_aside(row, key, node, report)
            });
        }
        self.folder.bring(self.brought.take());
    }

    fn variable(&self, key: &str, name: &str) -> Variable {
        let part = Part {
            kind: Kind::Variable,
            place: format!("{} {}", self.file, without_numbers(key)),
            content: name.to_owned(),
        };
        let counts = self.folder.granted().counts(&part);
        self.folder.bring(vec![Brought {
            part,
            needs_trust: true,
        }]);
        if counts {
            (self.environment)(name).map_or(Variable::Unset, Variable::Set)
        } else {
            Variable::Withheld(self.folder.mend())
        }
    }
}

/// `spec.tools[].command` for `spec.tools[3].command`: where it stands in the list means nothing.
fn without_numbers(key: &str) -> String {
    let mut plain = String::with_capacity(key.len());
    let mut is_inside = false;
    for letter in key.chars() {
        is_inside &= letter != ']';
        if !is_inside {
            plain.push(letter);
        }
        is_inside |= letter == '[';
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_list_has_no_number() {
        for (key, expected) in [
            ("spec.tools[12].env.A", "spec.tools[].env.A"),
            ("allow[0]", "allow[]"),
            ("mode", "mode"),
        ] {
            assert_eq!(without_numbers(key), expected);
        }
    }
}
