//! The table of figures.

/// What a figure is held to.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// More is a miss.
    AtMost(f64),
    /// Less is a miss.
    AtLeast(f64),
    /// Shown for comparison only.
    None,
}

/// The table, printed row by row as it is measured.
#[derive(Debug)]
pub struct Report {
    missed: usize,
}

impl Report {
    /// Prints the heading.
    pub fn begin() -> Report {
        print_row("figure", "measured", "", "target", "");
        Report { missed: 0 }
    }

    /// Prints a figure beside its target.
    pub fn row(&mut self, name: &str, value: f64, unit: &str, target: Target) {
        let verdict = match target {
            Target::AtMost(most) if value > most => "MISSED",
            Target::AtLeast(least) if value < least => "MISSED",
            Target::AtMost(_) | Target::AtLeast(_) => "ok",
            Target::None => "",
        };
        let target = match target {
            Target::AtMost(most) => format!("≤ {}", number(most)),
            Target::AtLeast(least) => format!("≥ {}", number(least)),
            Target::None => String::new(),
        };
        self.missed += usize::from(verdict == "MISSED");
        print_row(name, &number(value), unit, &target, verdict);
    }

    /// Whether every figure held its target.
    pub fn all_hold(&self) -> bool {
        self.missed == 0
    }
}

/// The middle one of `values`.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Two decimals for what is small, none for what is large.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print_row(name: &str, value: &str, unit: &str, target: &str, verdict: &str) {
    println!("{name:<38} {value:>10} {unit:<9} {target:>9}  {verdict}");
}
