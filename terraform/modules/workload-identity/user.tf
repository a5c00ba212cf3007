# Users to try things out with. Their access keys are made by hand: made here, the secrets would lie in the state.

resource "aws_iam_user" "this" {
  #checkov:skip=CKV_AWS_273:A pod cannot sign in through SSO; users exist only where somebody asked for them to try things out.
  for_each = local.users

  name                 = "${var.name}-${each.key}"
  permissions_boundary = var.permissions_boundary_arn
  # Keys made by hand go with the user.
  force_destroy = true
}

resource "aws_iam_user_policy_attachment" "this" {
  #checkov:skip=CKV_AWS_40:A group would have this one user; the user exists only where somebody asked for it to try things out.
  for_each = local.users

  user       = aws_iam_user.this[each.key].name
  policy_arn = each.value.policy_arn
}
