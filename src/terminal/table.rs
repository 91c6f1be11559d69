//! Plain tables, and texts measured in terminal columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: &str = "  ";

/// Lays rows out under their heads; every cell must be one clean line. The last column is not
/// padded. Each line ends with `\n`.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.width()).max().unwrap_or(0);
            widest.max(head.width())
        })
        .collect();
    let mut text = line(heads.iter().copied(), &widths);
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str), &widths));
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.zip(widths) {
        let padding = width.saturating_sub(cell.width());
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', padding));
        text.push_str(GAP);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The beginning of `text` that fits into `width_max` columns, with `…` where it was cut.
pub fn cut(text: &str, width_max: usize) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    let mut shown = String::new();
    // One column is for the sign.
    let mut left = width_max.saturating_sub(1);
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        shown.push(c);
    }
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_wide_characters() {
        let rows = vec![
            vec!["日本".to_owned(), "1".to_owned()],
            vec!["ab".to_owned(), "22".to_owned()],
        ];
        let expected = "NAME  N\n日本  1\nab    22\n";
        assert_eq!(table(&["NAME", "N"], &rows), expected);
    }

    #[test]
    fn an_empty_table_is_its_heads() {
        assert_eq!(table(&["A", "B"], &[]), "A  B\n");
    }

    #[test]
    fn a_cut_text_fits() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 0), "…");
    }
}
