//! Checks of a graph as a whole: every name made once, everything that is read made by something, no cycles; and the order in which
//! the nodes that the output needs come.

use std::collections::{HashMap, HashSet};

use super::proto::Graph;

/// Nodes of a graph at most: ten times those of the largest networks for images.
const MOST_NODES: usize = 1 << 14;

/// Checks the names and returns the indices of the nodes that `output` needs, each after those that it reads.
pub(super) fn order(graph: &Graph, output: &str) -> Result<Vec<usize>, String> {
    if graph.nodes.len() > MOST_NODES {
        return Err(format!("{} nodes, more than {MOST_NODES}", graph.nodes.len()));
    }
    let makers = makers(graph)?;
    let given: HashSet<&str> = given(graph).collect();
    if !makers.contains_key(output) && !given.contains(output) {
        return Err(format!("nothing makes the output `{output}`"));
    }
    let mut order = Vec::new();
    // None: not seen. False: on the way. True: done.
    let mut states: Vec<Option<bool>> = vec![None; graph.nodes.len()];
    let mut stack: Vec<(usize, usize)> = makers.get(output).map(|&node| (node, 0)).into_iter().collect();
    while let Some((node, input)) = stack.pop() {
        states[node] = Some(false);
        let Some(name) = graph.nodes[node].inputs.get(input) else {
            states[node] = Some(true);
            order.push(node);
            continue;
        };
        stack.push((node, input + 1));
        match makers.get(&name[..]) {
            Some(&maker) => match states[maker] {
                None => stack.push((maker, 0)),
                Some(true) => {}
                Some(false) => return Err(format!("{} reads what it makes, in a cycle", title(graph, maker))),
            },
            None if name.is_empty() || given.contains(&name[..]) => {}
            None => return Err(format!("{} reads `{name}`, which nothing makes", title(graph, node))),
        }
    }
    Ok(order)
}

/// What a node is called in messages.
pub(super) fn title(graph: &Graph, node: usize) -> String {
    let node = &graph.nodes[node];
    let name = if node.name.is_empty() { node.outputs.first() } else { Some(&node.name) };
    format!("{} `{}`", node.operator, name.map_or("", |name| name))
}

/// Names that no node makes: inputs and initializers.
fn given(graph: &Graph) -> impl Iterator<Item = &str> {
    let inputs = graph.inputs.iter().map(|input| &input.name[..]);
    inputs.chain(graph.initializers.iter().map(|tensor| &tensor.name[..]))
}

/// The node that makes each value. Errors where two make one, or where a name is given twice.
fn makers(graph: &Graph) -> Result<HashMap<&str, usize>, String> {
    let mut makers = HashMap::new();
    let mut inputs = HashSet::new();
    if let Some(input) = graph.inputs.iter().find(|input| !inputs.insert(&input.name[..])) {
        return Err(format!("two inputs named `{}`", input.name));
    }
    // An initializer may bear an input's name: it is the input's default.
    let mut initializers = HashSet::new();
    if let Some(tensor) = graph.initializers.iter().find(|tensor| !initializers.insert(&tensor.name[..])) {
        return Err(format!("two initializers named `{}`", tensor.name));
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            let is_given = inputs.contains(&name[..]) || initializers.contains(&name[..]);
            if is_given || makers.insert(&name[..], at).is_some() {
                return Err(format!("{} makes `{name}`, which is made elsewhere", title(graph, at)));
            }
        }
    }
    Ok(makers)
}
