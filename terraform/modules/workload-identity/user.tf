# Users for trials. Their access keys are created by hand, because Terraform would store the secrets in its state.

resource "aws_iam_user" "this" {
  #checkov:skip=CKV_AWS_273:A pod cannot sign in through SSO; users exist only with the method user, for trials.
  for_each = local.users

  name                 = "${var.name}-${each.key}"
  permissions_boundary = var.permissions_boundary_arn
  # The user's deletion deletes the keys that were created by hand.
  force_destroy = true
}

resource "aws_iam_user_policy_attachment" "this" {
  #checkov:skip=CKV_AWS_40:A group would have this one user; the user exists only with the method user, for trials.
  for_each = local.users

  user       = aws_iam_user.this[each.key].name
  policy_arn = each.value.policy_arn
}
