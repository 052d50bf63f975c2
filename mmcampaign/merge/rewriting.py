"""Templates rewritten before they are compiled: hooks where Jinja would write Python's own operations.

What the environment itself is asked for (filters, tests, calls, attributes, arithmetic) needs none. The hooks are in
`hooks.py`.
"""

from functools import reduce
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer


class Rewriter(NodeTransformer):
    """Puts a hook in front of each operand of such an operation, as a filter named ``trace_…``."""

    def __init__(self, environment: jinja2.Environment) -> None:
        self._environment = environment

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """``a < b < c`` is ``a < b and b < c``, as long as ``b`` may be computed twice."""
        self.generic_visit(node)
        if any(each.expr.find(nodes.Call) or isinstance(each.expr, nodes.Call) for each in node.ops[:-1]):
            node.expr = self._hook(node.expr, "not")
            for each in node.ops:
                each.expr = self._hook(each.expr, "not")
            return node
        left, pairs = node.expr, list[nodes.Expr]()
        for each in node.ops:
            pairs.append(self._hook(left, "compared", each.expr, nodes.Const(each.op, lineno=node.lineno)))
            left = each.expr
        return reduce(lambda one, other: nodes.And(one, other, lineno=node.lineno), pairs)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [self._hook(each, "joined") for each in node.nodes]
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [self._hook(each, "printed") for each in node.nodes]
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = self._hook(node.filter, "joined")
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        if node.filter is not None:
            node.filter = self._hook(node.filter, "joined")
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = self._hook(node.iter, self._unpacking(node.target, "pairs") or "text")
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        self.generic_visit(node)
        if hook := self._unpacking(node.target, "text"):
            node.node = self._hook(node.node, hook)
        return node

    def visit_With(self, node: nodes.With) -> nodes.Node:
        self.generic_visit(node)
        hooks = [self._unpacking(target, "text") for target in node.targets]
        node.values = [self._hook(v, hook) if hook else v for v, hook in zip(node.values, hooks, strict=True)]
        return node

    @staticmethod
    def _unpacking(target: nodes.Node, flat: str) -> str:
        """The hook for what is unpacked into a target: Python would take a text with tokens in it apart."""
        if not isinstance(target, nodes.Tuple):
            return ""
        return "not" if any(isinstance(each, nodes.Tuple) for each in target.items) else flat

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = self._hook(node.node, "text")
        return node

    def visit_Call(self, node: nodes.Call | nodes.Filter | nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        if node.dyn_args is not None:
            node.dyn_args = self._hook(node.dyn_args, "text")
        return node

    visit_Filter = visit_Test = visit_Call

    def _hook(self, operand: Any, name: str, *more: nodes.Expr) -> Any:
        if isinstance(operand, nodes.Const | nodes.TemplateData) and not more:
            return operand
        return nodes.Filter(
            operand,
            f"trace_{name}",
            list(more),
            [],
            None,
            None,
            lineno=operand.lineno,
            environment=self._environment,
        )
