//! The page about the configuration names every file that a workspace and the state folder get.

use std::fs;
use std::path::Path;

use super::desk::Desk;
use super::root;

/// A workspace in use: what makes each of the files that one can get.
const USE: &str = r#"
duragent init --provider echo --no-interactive
cat >> .duragent/agents/my-assistant/agent.yaml << 'EOF'
  tools: [{type: builtin, name: bash}]
  memory: {backend: filesystem}
EOF
cat > .duragent/agents/my-assistant/policy.yaml << 'EOF'
apiVersion: duragent/v1alpha1
kind: Policy
allow: ['builtin:memory*']
EOF
duragent agent trust --all --yes
# What is agreed to.
echo 'server: {allowed_hosts: [agents.example]}' >> duragent.yaml
duragent serve &
until duragent serve status | grep '  ready'; do sleep 0.02; done
duragent serve stop
# A terminal, and a server of its own.
logs=.duragent/sessions/*/events.jsonl
{ echo hello; until grep -qs turn_ended $logs; do sleep 0.02; done; } | script -qec 'duragent chat' /dev/null
echo '/tool memory {"action":"remember","content":"a note"}' | duragent chat
echo '/tool memory {"action":"update_world","topic":"it","content":"a fact"}' | duragent chat
echo '/tool bash {"command":"touch made"}' | duragent chat || true
api=http://127.0.0.1:$DURAGENT_PORT/api/v1
id=$(curl "$api/sessions?limit=1" | jq -r '.sessions[0].session_id')
curl $api/sessions/$id | jq '.pending_approval | {call_id, command, decision: "allow_always"}' > asked
curl $api/sessions/$id/approve -H 'Content-Type: application/json' -d @asked
curl $api/sessions/$id/files -H 'Content-Type: text/plain' -d 'a file'
duragent serve stop
# A log with damage, and one with a torn end.
sed -i '2s/"crc":"......../"crc":"00000000/' .duragent/sessions/$id/events.jsonl
duragent session check --repair $id
for log in $logs; do printf '{"crc"' >> $log; done
echo hello | duragent chat --session $id
pid=$(sed -n 's/^pid: //p' .duragent/lock)
kill -9 $pid
while kill -0 $pid; do sleep 0.02; done
# One that is deleted, and an agent that is trusted with nothing.
duragent session delete $(duragent session list --json | jq -r '.[-1].session_id')
duragent agent create other --provider echo --no-interactive
duragent agent untrust other
"#;

/// The files that the page about the layout names, one for each `path` in the first cell of a row.
fn named_files(under: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let table = page.split(&format!("| in the {under} |")).nth(1).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Whether `path` is the one that `named` stands for: `<…>` is one name or a part of it, `…` anything.
fn stands_for(named: &str, path: &str) -> bool {
    let mut named = named.split('/');
    let mut path = path.split('/');
    loop {
        match (named.next(), path.next()) {
            (None, None) | (Some("…"), Some(_)) => return true,
            (Some(named), Some(name)) => {
                let (start, rest) = named.split_once('<').unwrap_or((named, ""));
                let end = rest.split_once('>').map(|(_, end)| end);
                let fits = match end {
                    None => named == name,
                    Some(end) => {
                        name.len() > start.len() + end.len()
                            && name.starts_with(start)
                            && name.ends_with(end)
                    }
                };
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// Every file below a folder, by its path from there.
fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path.strip_prefix(folder).unwrap().display().to_string())
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_workspace_in_use_has_no_file_that_the_page_does_not_name_and_each_that_it_names() {
    let desk = Desk::new();
    let end = desk.run(&format!(
        "exec > $SEEN/0 2>&1\nset -eo pipefail\ntrap 'duragent serve stop || true' EXIT\n{USE}"
    ));
    let seen = fs::read_to_string(desk.at("seen/0")).unwrap();
    assert_eq!(end, Ok(()), "{seen}");
    // What a person writes, what is there for a moment, and what another version left.
    let by_hand = [
        "directives/…",
        "skills/…",
        "tools/…",
        "policy.yaml",
        "sessions/.trial",
        "sessions/<session>/events.jsonl.v05",
        "sessions/<session>/state.yaml.v05",
    ];
    for (under, folder) in [
        ("workspace", "home/desk/.duragent"),
        ("state folder", "home/.local/state/duragent"),
    ] {
        let (named, files) = (named_files(under), files_below(&desk.at(folder)));
        let strays: Vec<_> = files
            .iter()
            .filter(|file| !named.iter().any(|named| stands_for(named, file)))
            .collect();
        assert!(strays.is_empty(), "{under}: nothing names {strays:#?}");
        let invented: Vec<_> = named
            .iter()
            .filter(|named| !by_hand.contains(&named.as_str()))
            .filter(|named| !files.iter().any(|file| stands_for(named, file)))
            .collect();
        assert!(
            invented.is_empty(),
            "{under}: there is no {invented:#?} among {files:#?}\n{seen}"
        );
    }
}
