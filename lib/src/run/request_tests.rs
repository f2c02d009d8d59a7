//! Tests of `request`.

use super::*;

fn items(ids: &[&str]) -> Vec<BriefItem> {
    ids.iter().map(|id| BriefItem { node_id: (*id).into(), group: None, marks: None, location: None }).collect()
}

fn select(ids: &[&str], piped: bool, cwd: &str) -> (Vec<u32>, Vec<String>) {
    let all = items(&["a/t.py::C::f", "a/t.py::g[1]", "a/t.py::g[2]", "a/t.py::g[1]", "b.py::h[x/../y::z]"]);
    let request = Request { ids: Some(ids.iter().map(|id| (*id).into()).collect()), piped, ..Request::default() };
    let selection = Selection::of(&request, &all, Path::new("/r"), Path::new(cwd));
    (selection.order, selection.not_found.iter().map(ToString::to_string).collect())
}

#[test]
fn ids_name_tests_functions_classes_files_and_folders() {
    assert_eq!(select(&["a/t.py::g[2]", "a/t.py::C::f"], true, "/r").0, [2, 0]);
    assert_eq!(select(&["a/t.py::g"], true, "/r").0, [1, 2, 3]);
    assert_eq!(select(&["a/t.py::C", "a/t.py"], true, "/r").0, [0, 1, 2, 3]);
    assert_eq!(select(&["a", "b.py"], true, "/r").0, [0, 1, 2, 3, 4]);
    assert_eq!(select(&["b.py::h[x/../y::z]"], false, "/r").0, [4]);
    assert_eq!(select(&["t.py::C", "../b.py"], false, "/r/a").0, [0, 4]);
}

#[test]
fn a_double_id_is_every_item_of_that_id_and_a_missing_one_is_named_once() {
    assert_eq!(select(&["a/t.py::g[1]"], true, "/r").0, [1, 3]);
    assert_eq!(select(&["a/t.py::g[1]", "b.py", "a/t.py::g[1]"], true, "/r").0, [1, 4, 3]);
    assert_eq!(select(&["a/t.py::g[1]", "a/t.py::g[1]", "a/t.py::g[1]"], true, "/r"), (vec![1, 3], vec![]));
    let (order, missing) = select(&["a/t.py::nope", "b.py", "gone.py::x", "gone.py::x"], true, "/r");
    assert_eq!(order, [4]);
    assert_eq!(missing, ["a/t.py::nope", "gone.py::x"]);
}

#[test]
fn a_stream_gives_ids_errors_and_the_shard() {
    let text = r#"{"type":"test","node_id":"t.py::a"}
{"type":"collect_error","file_path":"u.py","message":"no"}
{"type":"result","node_id":"t.py::b","outcome":"failed"}
{"type":"collection","node_count":1,"errors":1,"deselected":4,"inventory_hash":"","duration_ms":1,"pytest_args":[],"rootdir":"/r"}
{"type":"news"}
"#;
    let request = Request::of_stream(text.as_bytes(), Path::new("/")).unwrap();
    assert_eq!(request.ids.unwrap().len(), 2);
    assert_eq!(request.collect_errors[0].file_path, "u.py");
    assert_eq!((request.deselected, request.rootdir.as_deref()), (4, Some("/r")));
    assert!(Request::of_stream(&b""[..], Path::new("/")).unwrap().is_empty());
}
