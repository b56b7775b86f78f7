//! A little SVG: shapes, texts and a card to put them on.

use std::fmt::Write as _;

pub const INK: &str = "#1f2328";
pub const FAINT: &str = "#59636e";
pub const GRID: &str = "#d1d9e0";
pub const BLUE: &str = "#0969da";
pub const ORANGE: &str = "#bc4c00";
pub const GREY: &str = "#8c959f";

/// Where a text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing in the making.
pub struct Svg {
    width: f64,
    height: f64,
    title: String,
    body: String,
}

impl Svg {
    pub fn new(title: &str, width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            title: escaped(title),
            body: String::new(),
        }
    }

    pub fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        let width = width.max(1.0);
        self.push(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" \
             fill=\"{colour}\"/>"
        ));
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        self.push(&format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    /// A line through points, each with a dot.
    pub fn path(&mut self, points: &[(f64, f64)], colour: &str) {
        let places: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.push(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" \
             stroke-linejoin=\"round\"/>",
            places.join(" ")
        ));
        for (x, y) in points {
            self.push(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"
            ));
        }
    }

    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, style: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" {style}>{}</text>",
            at.0,
            at.1,
            escaped(text)
        ));
    }

    fn push(&mut self, element: &str) {
        let _ = writeln!(self.body, "  {element}");
    }

    /// The whole document.
    pub fn finish(self) -> String {
        let Self {
            width,
            height,
            title,
            body,
        } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
             font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\" font-size=\"13\">\n  \
             <title>{title}</title>\n  \
             <rect x=\"0.5\" y=\"0.5\" width=\"{:.0}\" height=\"{:.0}\" rx=\"8\" fill=\"#ffffff\" \
             stroke=\"{GRID}\"/>\n{body}</svg>\n",
            width - 1.0,
            height - 1.0
        )
    }
}

/// Style of a text.
pub fn style(colour: &str, size: u32, is_bold: bool) -> String {
    let weight = if is_bold { " font-weight=\"600\"" } else { "" };
    format!("fill=\"{colour}\" font-size=\"{size}\"{weight}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Round steps from zero to `most` or a little beyond, about `count` of them.
pub fn linear_ticks(most: f64, count: f64) -> Vec<f64> {
    let rough = (most / count).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let steps = (most / step).ceil().max(1.0) as u32;
    (0..=steps).map(|n| f64::from(n) * step).collect()
}

/// 1, 2, 5, 10 and so on, from the last at or below `least` to the first at or above `most`.
pub fn logarithmic_ticks(least: f64, most: f64) -> Vec<f64> {
    let all: Vec<_> = (-6..9)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)))
        .collect();
    // A hair's breadth, since powers of ten are not exact.
    let first = all.iter().rposition(|tick| *tick <= least * 1.000_001);
    let last = all.iter().position(|tick| *tick >= most * 0.999_999);
    let last = last.unwrap_or(all.len() - 1);
    let first = first.unwrap_or(0).min(last.saturating_sub(1));
    all[first..=last].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_beyond_the_data() {
        assert_eq!(
            linear_ticks(93_000.0, 5.0),
            [0.0, 20e3, 40e3, 60e3, 80e3, 100e3]
        );
        assert_eq!(linear_ticks(0.0, 5.0).len(), 2);
        assert_eq!(logarithmic_ticks(0.7, 8.0).len(), 5, "0.5 1 2 5 10");
        assert_eq!(logarithmic_ticks(1.0, 1.0).len(), 2, "never a single one");
    }

    #[test]
    fn text_cannot_break_the_document() {
        let mut svg = Svg::new("a < b & c", 10.0, 10.0);
        svg.text((1.0, 1.0), Anchor::Start, "", "<script>");
        let text = svg.finish();
        assert!(text.contains("a &lt; b &amp; c") && !text.contains("<script>"));
    }
}
