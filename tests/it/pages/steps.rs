//! What a page asks of somebody who follows it, read from its Markdown. Pure.

/// A page, as the steps of somebody who follows it.
#[derive(Debug, PartialEq)]
pub enum Step {
    Write { name: String, text: String },
    Run(Run),
}

#[derive(Debug, Default, PartialEq)]
pub struct Run {
    /// Where it stands, from 1.
    pub line: usize,
    pub script: String,
    pub reads: String,
    pub prints: Vec<String>,
    pub exits: u8,
    pub stays: bool,
}

impl Run {
    /// Its options: what stands in the mark behind `run`.
    fn new(line: usize, options: &str) -> Result<Run, String> {
        let mut run = Run {
            line,
            ..Run::default()
        };
        for option in options.split(';').map(str::trim).filter(|o| !o.is_empty()) {
            let (name, value) = option.split_once(": ").unwrap_or((option, ""));
            match name {
                "prints" => run.prints.push(value.to_owned()),
                "reads" => run.reads = format!("{value}\n"),
                "exits" => run.exits = value.parse().map_err(|_| format!("exits {value:?}"))?,
                "stays" => run.stays = true,
                _ => return Err(format!("there is no option {name:?}")),
            }
        }
        Ok(run)
    }

    /// The answers that comments in it show, each as the keys that it names; those of comments that
    /// follow one another are alternatives.
    pub fn answers_shown(&self) -> Vec<Vec<Vec<String>>> {
        let lines: Vec<&str> = self.script.lines().collect();
        let is_answer = |line: &str| line.starts_with("# ") && line.contains("{\"");
        lines
            .chunk_by(|one, next| is_answer(one) == is_answer(next))
            .filter(|lines| is_answer(lines[0]))
            .map(|lines| lines.iter().map(|line| keys_in(line)).collect())
            .collect()
    }

    /// As a part of the page's script: its output goes to the file `number`.
    pub fn as_shell(&self, number: usize) -> String {
        let Run { script, exits, .. } = self;
        let streams = format!("> \"$SEEN/{number}\" 2>&1 < \"$SEEN/{number}.in\"");
        if self.stays {
            let waits = self.prints.iter().map(|text| {
                let text = quoted(text);
                format!(
                    "until grep -qF -- {text} \"$SEEN/{number}\"; do kill -0 $!; sleep 0.02; done\n"
                )
            });
            return format!(
                ": > \"$SEEN/{number}\"\n{{\n{script}}} {streams} &\n{}",
                waits.collect::<String>()
            );
        }
        match exits {
            0 => format!("{{\n{script}}} {streams}\n"),
            _ => format!(
                "set +e; (set -e\n{script}) {streams}\n[ $? = {exits} ] || exit 99; set -e\n"
            ),
        }
    }
}

/// `"key":` of a text that shows JSON.
fn keys_in(text: &str) -> Vec<String> {
    let ends = text.match_indices("\":").map(|(at, _)| &text[..at]);
    ends.filter_map(|before| before.rsplit('"').next())
        .map(|key| format!("\"{key}\":"))
        .collect()
}

/// What a page's Markdown asks for; errors name the line.
pub fn steps(markdown: &str) -> Result<Vec<Step>, Vec<String>> {
    let mut steps = Vec::new();
    let mut errors = Vec::new();
    let mut lines = (1..).zip(markdown.lines());
    let mut mark: Option<(usize, &str)> = None;
    while let Some((number, line)) = lines.next() {
        let mut body = |end: &str| {
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside = inside.take_while(|line| line.trim() != end);
            inside.map(|line| format!("{line}\n")).collect::<String>()
        };
        let trimmed = line.trim();
        let step = if let Some(language) = trimmed.strip_prefix("```") {
            step_of(number, mark.take(), language, body("```"))
        } else if trimmed == "<!-- run" {
            let script = body("-->");
            Run::new(number, "").map(|run| Some(Step::Run(Run { script, ..run })))
        } else {
            let comment = trimmed.strip_prefix("<!-- ");
            mark = comment.and_then(|rest| Some((number, rest.strip_suffix(" -->")?)));
            Ok(None)
        };
        match step {
            Ok(step) => steps.extend(step),
            Err(error) => errors.push(format!("{number}: {error}")),
        }
    }
    if errors.is_empty() {
        Ok(steps)
    } else {
        Err(errors)
    }
}

/// What a block with this mark asks for.
fn step_of(
    line: usize,
    mark: Option<(usize, &str)>,
    language: &str,
    text: String,
) -> Result<Option<Step>, String> {
    let mark = mark.filter(|(at, _)| at + 1 == line).map(|(_, mark)| mark);
    let is_shell = matches!(language, "sh" | "bash");
    match mark.map(|mark| mark.split_once(": ").unwrap_or((mark, ""))) {
        Some(("file", name)) => Ok(Some(Step::Write {
            name: name.to_owned(),
            text,
        })),
        Some(("not run", why)) if !why.is_empty() => Ok(None),
        Some(_) if mark.is_some_and(|mark| mark == "run" || mark.starts_with("run;")) => {
            let run = Run::new(line, &mark.unwrap_or_default()["run".len()..])?;
            Ok(Some(Step::Run(Run {
                script: text,
                ..run
            })))
        }
        Some(_) => Err(format!("there is no mark {mark:?}")),
        None if is_shell => Err("a block for a shell has no mark: `run` or `not run: WHY`".into()),
        None => Ok(None),
    }
}

pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
