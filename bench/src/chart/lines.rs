//! Lines over a linear axis, with a logarithmic one beside: latencies differ by orders of magnitude.

use super::svg::{Anchor, FAINT, GRID, INK, Svg, linear_ticks, logarithmic_ticks, style};
use crate::output::grouped;

/// One measured point.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// Points that belong together.
#[derive(Debug)]
pub struct Line {
    pub name: &'static str,
    pub colour: &'static str,
    pub points: Vec<Point>,
}

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = WIDTH - 40.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = HEIGHT - 62.0;

/// Draws them. All values have to be greater than zero.
pub fn draw(title: &str, x_name: &str, y_name: &str, lines: &[Line]) -> String {
    let mut svg = Svg::new(title, WIDTH, HEIGHT);
    svg.text((20.0, 32.0), Anchor::Start, &style(INK, 17, true), title);
    svg.text(
        (20.0, 56.0),
        Anchor::Start,
        &style(FAINT, 12, false),
        y_name,
    );
    let below = ((LEFT + RIGHT) / 2.0, HEIGHT - 16.0);
    svg.text(below, Anchor::Middle, &style(FAINT, 12, false), x_name);

    let points = || lines.iter().flat_map(|line| &line.points);
    let x_ticks = linear_ticks(points().map(|point| point.x).fold(0.0, f64::max), 6.0);
    let least = points().map(|point| point.y).fold(f64::MAX, f64::min);
    let most = points().map(|point| point.y).fold(0.0, f64::max);
    let y_ticks = logarithmic_ticks(least, most);
    let x_end = x_ticks.last().copied().unwrap_or(1.0);
    let (low, high) = match (y_ticks.first(), y_ticks.last()) {
        (Some(low), Some(high)) => (low.ln(), high.ln()),
        _ => (0.0, 1.0),
    };
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / x_end;
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value.ln() - low) / (high - low);

    let faint = style(FAINT, 12, false);
    for tick in &x_ticks {
        svg.line((x(*tick), TOP), (x(*tick), BOTTOM), GRID);
        let place = (x(*tick), BOTTOM + 19.0);
        svg.text(place, Anchor::Middle, &faint, &grouped(*tick));
    }
    for tick in &y_ticks {
        svg.line((LEFT, y(*tick)), (RIGHT, y(*tick)), GRID);
        let place = (LEFT - 9.0, y(*tick) + 4.0);
        svg.text(place, Anchor::End, &faint, &plain(*tick));
    }
    for line in lines {
        let places: Vec<_> = line.points.iter().map(|p| (x(p.x), y(p.y))).collect();
        svg.path(&places, line.colour);
    }
    for (at, line) in lines.iter().enumerate() {
        let left = RIGHT - 82.0 * (lines.len() - at) as f64;
        svg.path(&[(left, 28.0), (left + 22.0, 28.0)], line.colour);
        let place = (left + 32.0, 32.5);
        svg.text(place, Anchor::Start, &style(INK, 13, false), line.name);
    }
    svg.finish()
}

/// A tick without the digits that floating point adds.
fn plain(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded >= 1_000.0 {
        grouped(rounded)
    } else {
        format!("{rounded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_inside_the_axes() {
        let line = Line {
            name: "p50",
            colour: "#000",
            points: vec![
                Point { x: 1.0, y: 0.001 },
                Point {
                    x: 70_000.0,
                    y: 1_234.0,
                },
            ],
        };
        let svg = draw("t", "x", "y", &[line]);
        let places = |name: &str| {
            let key = format!("{name}=\"");
            let places = svg
                .split(&key)
                .skip(1)
                .filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
            places.collect::<Vec<_>>()
        };
        // The last two are the legend's.
        assert!(places("cx").iter().all(|x| (LEFT..=RIGHT).contains(x)));
        assert!(
            places("cy")
                .iter()
                .take(2)
                .all(|y| (TOP..=BOTTOM).contains(y))
        );
    }

    #[test]
    fn ticks_are_written_plainly() {
        assert_eq!(plain(0.1 + 0.2), "0.3");
        assert_eq!(plain(2.0), "2");
        assert_eq!(plain(5_000.0), "5,000");
    }
}
