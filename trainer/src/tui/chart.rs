//! Owns drawing curves into cells: bands of lowest and highest values, lines and marks, with axes and a cursor.
//! Knows axes and colours; knows nothing of what a curve means.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::axis::Axis;
use super::series::Bucket;
use super::theme::Theme;
use super::words::number;

/// Columns of the values at the left.
const LEFT_COLUMNS: u16 = 8;

/// One curve of a chart.
pub enum Layer<'a> {
    /// From the lowest to the highest value at each place, so that no peak is lost.
    Band(&'a [Bucket], Style),
    /// A line through points.
    Line(Vec<(f64, f64)>, Style),
    /// A sign at each point.
    Marks(Vec<(f64, f64)>, &'static str, Style),
}

impl Layer<'_> {
    /// All its values, for an axis around them.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        match self {
            Layer::Band(buckets, _) => buckets.iter().flat_map(|bucket| [bucket.low, bucket.high]).collect(),
            Layer::Line(points, _) | Layer::Marks(points, _, _) => points.iter().map(|(_, y)| *y).collect(),
        }
    }
}

/// A chart.
pub struct Chart<'a> {
    /// Along the bottom.
    pub x: Axis,
    /// Along the left.
    pub y: Axis,
    /// Curves, the last one on top.
    pub layers: Vec<Layer<'a>>,
    /// A vertical line.
    pub cursor: Option<f64>,
    /// How it looks.
    pub theme: Theme,
}

impl Chart<'_> {
    /// Draws it. An area that is too small for axes has curves only.
    pub fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(*buffer.area());
        if area.is_empty() {
            return;
        }
        let has_left = area.width > 3 * LEFT_COLUMNS;
        let has_bottom = area.height > 3;
        let left = if has_left { LEFT_COLUMNS } else { 0 };
        let plot =
            Rect { x: area.x + left, y: area.y, width: area.width - left, height: area.height - u16::from(has_bottom) };
        if has_left {
            self.draw_left(area, plot, buffer);
        }
        if has_bottom {
            self.draw_bottom(plot, buffer);
        }
        let mut canvas = Canvas::new(plot, self.theme.unicode);
        for layer in &self.layers {
            self.draw_layer(layer, &mut canvas);
        }
        canvas.paint(buffer);
        for layer in &self.layers {
            if let Layer::Marks(points, sign, style) = layer {
                for (x, y) in points {
                    if let Some((column, row)) = self.cell(plot, *x, *y) {
                        // A cell of a dim curve below it must not make the mark dim.
                        buffer.set_stringn(column, row, sign, 1, style.remove_modifier(Modifier::DIM));
                    }
                }
            }
        }
        if let Some(column) = self.cursor.and_then(|x| place(self.x.place(x), plot.width)) {
            let sign = self.theme.sign("│", "|");
            for row in plot.top()..plot.bottom() {
                let cell = &mut buffer[(plot.x + column, row)];
                if cell.symbol() == " " {
                    cell.set_symbol(sign);
                } else {
                    cell.set_style(self.theme.chosen());
                }
            }
        }
    }

    fn cell(&self, plot: Rect, x: f64, y: f64) -> Option<(u16, u16)> {
        let column = place(self.x.place(x), plot.width)?;
        let row = place(1.0 - self.y.place(y), plot.height)?;
        Some((plot.x + column, plot.y + row))
    }

    fn draw_left(&self, area: Rect, plot: Rect, buffer: &mut Buffer) {
        for row in plot.top()..plot.bottom() {
            buffer.set_string(plot.x - 1, row, self.theme.sign("│", "|"), self.theme.dim());
        }
        for mark in self.y.marks(usize::from(plot.height / 3).clamp(1, 10)) {
            if let Some(row) = place(1.0 - self.y.place(mark), plot.height) {
                let text = number(mark);
                let column = (plot.x - 1).saturating_sub(text.len() as u16).max(area.x);
                buffer.set_stringn(column, plot.y + row, text, usize::from(LEFT_COLUMNS - 1), self.theme.dim());
                buffer.set_string(plot.x - 1, plot.y + row, self.theme.sign("┤", "+"), self.theme.dim());
            }
        }
    }

    fn draw_bottom(&self, plot: Rect, buffer: &mut Buffer) {
        let row = plot.bottom();
        let mut free = plot.x;
        for mark in self.x.marks(usize::from(plot.width / 12).clamp(1, 16)) {
            let Some(column) = place(self.x.place(mark), plot.width) else { continue };
            let text = if mark.abs() < 1e15 && mark.fract() == 0.0 { format!("{mark:.0}") } else { number(mark) };
            let column = (plot.x + column).saturating_sub(text.len() as u16 / 2).max(plot.x);
            if column >= free && column + text.len() as u16 <= plot.right() {
                buffer.set_string(column, row, &text, self.theme.dim());
                free = column + text.len() as u16 + 1;
            }
        }
    }

    fn draw_layer(&self, layer: &Layer<'_>, canvas: &mut Canvas) {
        match layer {
            Layer::Band(buckets, style) => {
                // Neighbours in one column are one stroke, so that its cost does not grow with their number.
                let mut stroke: Option<(u16, i32, i32)> = None;
                for bucket in *buckets {
                    let Some(column) = place(self.x.place(bucket.x()), canvas.columns) else { continue };
                    let low = canvas.row(self.y.place(bucket.low));
                    let high = canvas.row(self.y.place(bucket.high));
                    stroke = match stroke {
                        Some((of, from, to)) if of == column => Some((of, from.min(high), to.max(low))),
                        before => {
                            canvas.vertical(before, *style);
                            Some((column, high, low))
                        }
                    };
                }
                canvas.vertical(stroke, *style);
            }
            Layer::Line(points, style) => {
                let mut before: Option<(i32, i32)> = None;
                for (x, y) in points {
                    let at = self.x.place(*x);
                    if !(-0.01..=1.01).contains(&at) {
                        before = None;
                        continue;
                    }
                    let column = (at * f64::from(canvas.columns)) as i32;
                    let point = (column.min(i32::from(canvas.columns) - 1), canvas.row(self.y.place(*y)));
                    canvas.line(before.unwrap_or(point), point, *style);
                    before = Some(point);
                }
            }
            Layer::Marks(..) => {}
        }
    }
}

/// The cell of a share of a length, if it lies inside.
fn place(share: f64, length: u16) -> Option<u16> {
    ((0.0..=1.0).contains(&share) && length > 0).then(|| ((share * f64::from(length)) as u16).min(length - 1))
}

/// Dots in cells: eight in a cell where there is Unicode, else one.
struct Canvas {
    plot: Rect,
    columns: u16,
    rows: u16,
    per_cell: (u16, u16),
    dots: Vec<u8>,
    styles: Vec<Style>,
}

impl Canvas {
    fn new(plot: Rect, unicode: bool) -> Self {
        let per_cell = if unicode { (2, 4) } else { (1, 1) };
        let cells = usize::from(plot.width) * usize::from(plot.height);
        Canvas {
            plot,
            columns: plot.width.saturating_mul(per_cell.0),
            rows: plot.height.saturating_mul(per_cell.1),
            per_cell,
            dots: vec![0; cells],
            styles: vec![Style::new(); cells],
        }
    }

    /// The row of dots of a place on the upright axis; what lies outside is put at the edge.
    fn row(&self, place: f64) -> i32 {
        let rows = f64::from(self.rows);
        ((1.0 - place.clamp(0.0, 1.0)) * rows).min(rows - 1.0) as i32
    }

    /// A column of dots from one row to another.
    fn vertical(&mut self, stroke: Option<(u16, i32, i32)>, style: Style) {
        let Some((column, from, to)) = stroke else { return };
        for row in from.min(to)..=from.max(to) {
            self.dot(i32::from(column), row, style);
        }
    }

    fn line(&mut self, from: (i32, i32), to: (i32, i32), style: Style) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs());
        for step in 0..=steps {
            let share = f64::from(step) / f64::from(steps.max(1));
            let between = |a: i32, b: i32| (f64::from(a) + share * f64::from(b - a)).round() as i32;
            self.dot(between(from.0, to.0), between(from.1, to.1), style);
        }
    }

    fn dot(&mut self, column: i32, row: i32, style: Style) {
        if column < 0 || row < 0 || column >= i32::from(self.columns) || row >= i32::from(self.rows) {
            return;
        }
        let (column, row) = (column as u16, row as u16);
        let (across, down) = self.per_cell;
        let cell = usize::from(row / down) * usize::from(self.plot.width) + usize::from(column / across);
        // The dots of a braille sign, by their place in it.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        self.dots[cell] |= BITS[usize::from(row % down)][usize::from(column % across)];
        self.styles[cell] = style;
    }

    fn paint(&self, buffer: &mut Buffer) {
        let is_braille = self.per_cell.0 > 1;
        for (at, dots) in self.dots.iter().enumerate().filter(|(_, dots)| **dots != 0) {
            let column = self.plot.x + (at % usize::from(self.plot.width)) as u16;
            let row = self.plot.y + (at / usize::from(self.plot.width)) as u16;
            let sign = if is_braille { char::from_u32(0x2800 + u32::from(*dots)).unwrap_or('*') } else { '*' };
            buffer[(column, row)].set_char(sign).set_style(self.styles[at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::tui::series::{Series, smooth};
    use crate::tui::theme::Colours;

    fn drawn(unicode: bool, width: u16, height: u16, cursor: Option<f64>) -> String {
        let mut series = Series::default();
        (0..100).for_each(|x| series.push(f64::from(x), if x == 60 { 9.0 } else { 10.0 / f64::from(x + 1) }));
        let theme = Theme { colours: Colours::None, unicode };
        let band = Layer::Band(series.buckets(), Style::new());
        let line = Layer::Line(smooth(series.buckets(), 3.0, false), Style::new());
        let marks = Layer::Marks(vec![(50.0, 2.0)], theme.sign("◆", "x"), Style::new());
        let y = Axis::around(band.values().into_iter(), false);
        let chart = Chart { x: Axis::from_to(0.0, 100.0), y, layers: vec![band, line, marks], cursor, theme };
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        chart.draw(area, &mut buffer);
        let rows = (0..height).map(|row| (0..width).map(|column| buffer[(column, row)].symbol()).collect::<String>());
        rows.map(|row| format!("|{}\n", row.trim_end())).collect()
    }

    #[test]
    fn a_curve_with_its_peak_its_line_and_a_mark() {
        expect![[r#"
            |   10.0┤⡆
            |       │⡇                        ⠁
            |       │⡇
            |       │⣿
            |       │⠁⢇
            |       │⠐⠈⢆
            |       │ ⠑⢌⠢⢄⡀               ◆   ⣦⡀
            |      0┤  ⠈⠉⠒⠛⠶⠶⠦⠤⠤⠤⢤⣤⣄⣀⣀⣀⣀⣀⣀⣀⣀⣀⣰⢁⣑⣢⣤⣄⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀
            |        0                   50
        "#]]
        .assert_eq(&drawn(true, 50, 9, None));
        expect![[r#"
            |   10.0+*                                |
            |       |*                        *       |
            |       |*                        *       |
            |       |*                        *       |
            |       |**                       *       |
            |       |***                      *       |
            |       | *****               x   **      |
            |      0+  ****************************************
            |        0                   50
        "#]]
        .assert_eq(&drawn(false, 50, 9, Some(80.0)));
    }

    #[test]
    fn no_area_is_too_small() {
        for (width, height) in [(0, 0), (1, 1), (3, 9), (26, 2), (9, 4), (600, 3)] {
            drawn(true, width, height, Some(1.0));
            drawn(false, width, height, None);
        }
    }
}
