# shellcheck shell=sh
# Gets a token from ECR and applies it as a pull secret in every namespace. A successful response is not printed, because it
# contains the Secret.
kubernetes=/var/run/secrets/kubernetes.io/serviceaccount
password=$(aws ecr get-login-password --region "$AWS_REGION")
auth=$(printf 'AWS:%s' "$password" | base64 -w 0)
config=$(printf '{"auths":{"%s":{"username":"AWS","password":"%s","auth":"%s"}}}' "$REGISTRY" "$password" "$auth" | base64 -w 0)
for namespace in $NAMESPACES; do
  answer=$(
    printf '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"%s","namespace":"%s"},"type":"kubernetes.io/dockerconfigjson","data":{".dockerconfigjson":"%s"}}' \
      "$SECRET_NAME" "$namespace" "$config" |
      curl --silent --show-error --fail-with-body --max-time 30 --retry 3 --cacert "$kubernetes/ca.crt" \
        --oauth2-bearer "$(cat "$kubernetes/token")" --header 'Content-Type: application/apply-patch+yaml' \
        --request PATCH --data-binary @- \
        "https://kubernetes.default.svc/api/v1/namespaces/$namespace/secrets/$SECRET_NAME?fieldManager=ecr-credentials&force=true"
  ) || {
    echo "could not renew $namespace/$SECRET_NAME: $answer" >&2
    exit 1
  }
  echo "renewed $namespace/$SECRET_NAME"
done
