//! Icons, drawn with strokes on a grid of 16: they take the colour of the text and need no file.

use leptos::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Failed,
    Warning,
    Progress,
    Check,
    Done,
    Dot,
    Overview,
    Workloads,
    Network,
    Config,
    Storage,
    Access,
    Cluster,
    Custom,
    Addons,
    Search,
    Close,
    Plus,
    Columns,
    Up,
    Down,
    Back,
    Expand,
    Theme,
    User,
    Delete,
    Edit,
    Restart,
    Scale,
    Pause,
    Play,
    Download,
    Chevron,
    Topology,
    Eye,
    Terminal,
    Dock,
}

fn path(shape: Shape) -> &'static str {
    match shape {
        Shape::Failed => {
            "M8 1.800a6.200 6.200 0 1 0 0 12.400A6.200 6.200 0 0 0 8 1.800ZM5.800 5.800l4.400 4.400M10.200 5.800l-4.400 4.400"
        }
        Shape::Warning => "M8 2.200 14.300 13.400H1.700ZM8 6.400v3.200M8 11.500v.1",
        Shape::Progress => "M13.600 6.200A6 6 0 1 0 14 8M13.800 2.500v3.700h-3.700",
        Shape::Check => {
            "M8 1.800a6.200 6.200 0 1 0 0 12.400A6.200 6.200 0 0 0 8 1.800ZM5.200 8.200l2 2 3.600-4"
        }
        Shape::Done => "M3 8.500l3.200 3.200L13 5",
        Shape::Dot => "M8 5.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5Z",
        Shape::Overview => "M2 2.500h5v5H2ZM9 2.500h5v3H9ZM9 7.500h5v6H9ZM2 9.500h5v4H2Z",
        Shape::Workloads => {
            "M8 1.500 14 4.700v6.600L8 14.500 2 11.300V4.700ZM2 4.700l6 3.300 6-3.300M8 8v6.500"
        }
        Shape::Network => {
            "M8 2a1.700 1.700 0 1 0 0 3.400A1.700 1.700 0 0 0 8 2ZM3.500 10.500a1.700 1.700 0 1 0 0 3.400 1.700 1.700 0 0 0 0-3.400ZM12.500 10.500a1.700 1.700 0 1 0 0 3.400 1.700 1.700 0 0 0 0-3.400ZM8 5.400V8M3.500 10.500V8h9v2.500"
        }
        Shape::Config => "M3 2h7l3 3v9H3ZM10 2v3h3M5.500 8h5M5.500 11h5",
        Shape::Storage => {
            "M2.500 4c0-1.200 2.500-2 5.500-2s5.500.800 5.500 2-2.500 2-5.500 2-5.500-.800-5.500-2ZM2.500 4v8c0 1.200 2.500 2 5.500 2s5.500-.800 5.500-2V4M2.500 8c0 1.200 2.500 2 5.500 2s5.500-.800 5.500-2"
        }
        Shape::Access => {
            "M8 1.500 13.500 3.500v4c0 3.500-2.300 5.800-5.500 7-3.200-1.200-5.500-3.500-5.500-7v-4ZM5.800 8l1.600 1.600L10.400 6.500"
        }
        Shape::Cluster => "M2 3h12v4H2ZM2 9h12v4H2ZM4.500 5v.1M4.500 11v.1M7 5h4M7 11h4",
        Shape::Custom => {
            "M8 2l1.800 3.900 4.200.500-3.100 2.900.800 4.200L8 11.400 4.300 13.500l.800-4.200L2 6.400l4.200-.500Z"
        }
        Shape::Addons => {
            "M6 2.500a1.500 1.500 0 0 1 3 0V4h3.500v3.500H11a1.500 1.500 0 0 0 0 3h1.500V14H3V4h3Z"
        }
        Shape::Search => "M7 2.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9ZM10.300 10.300 14 14",
        Shape::Close => "M3.500 3.500l9 9M12.500 3.500l-9 9",
        Shape::Plus => "M8 3v10M3 8h10",
        Shape::Columns => "M2 3h12v10H2ZM6 3v10M10 3v10",
        Shape::Up => "M4 9.500 8 5.500l4 4",
        Shape::Down => "M4 6.500l4 4 4-4",
        Shape::Back => "M9.500 3.500 5 8l4.500 4.500",
        Shape::Chevron => "M6 3.500 10.500 8 6 12.500",
        Shape::Expand => "M9.500 2.500h4v4M13.500 2.500 9 7M6.500 13.500h-4v-4M2.500 13.500 7 9",
        Shape::Theme => "M8 2a6 6 0 1 0 0 12ZM8 2a6 6 0 0 1 0 12",
        Shape::User => {
            "M8 2.200a2.800 2.800 0 1 0 0 5.600 2.800 2.800 0 0 0 0-5.600ZM2.500 14c.500-3 2.700-4.500 5.500-4.500s5 1.500 5.500 4.500"
        }
        Shape::Delete => {
            "M2.500 4.500h11M6 4.500v-2h4v2M4 4.500l.700 9.500h6.600l.700-9.500M6.700 7v4.500M9.300 7v4.500"
        }
        Shape::Edit => "M2.500 13.500l.700-3L10.500 3.200l2.300 2.300-7.300 7.300ZM9 4.700 11.300 7",
        Shape::Restart => "M2.400 9.800A6 6 0 1 0 2 8M2.200 13.500V9.800h3.700",
        Shape::Scale => {
            "M2.500 13.500v-4M2.500 13.500h4M2.500 13.500 7 9M13.500 2.500v4M13.500 2.500h-4M13.500 2.500 9 7"
        }
        Shape::Pause => "M5.500 3v10M10.500 3v10",
        Shape::Play => "M4.500 2.800 12.500 8l-8 5.200Z",
        Shape::Download => "M8 2v8M4.500 7 8 10.500 11.500 7M2.500 13.500h11",
        Shape::Topology => "M2 6h4v4H2ZM10 2h4v4h-4ZM10 10h4v4h-4ZM6 8h2M8 4v8M8 4h2M8 12h2",
        Shape::Terminal => "M2 3h12v10H2ZM4.500 6l2 2-2 2M8 10.500h3.500",
        Shape::Dock => "M2 3h12v10H2ZM2 9.500h12M8 4.700v2.600M6.700 6.200 8 7.500l1.300-1.300",
        Shape::Eye => {
            "M1.500 8C3 5 5.300 3.500 8 3.500S13 5 14.500 8C13 11 10.700 12.500 8 12.500S3 11 1.500 8ZM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4Z"
        }
    }
}

#[component]
pub fn Icon(shape: Shape) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
            <path d=path(shape) />
        </svg>
    }
}
