#!/bin/sh
# Makes the stores of this folder again, with openssl 3 and the keytool of JDK 17:
#
#   sh tests/data/stores/make.sh
#
# The stores are in the repository: src/tls/stores/tests compares what it reads from them with chain.pem, other.pem,
# leaf.key.der and other.key.der. All keys here are public, so they protect nothing. Each certificate is valid for a hundred
# years. The chain is leaf, middle, root; `other` is a certificate by itself.
#
# Passwords: the store's is `store-secret`, a key's own is `key-secret`. unicode.jks and the unicode*.p12 have `pässwörd-€`.

set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

STORE=store-secret
KEY=key-secret
UNICODE='pässwörd-€'
DAYS=36500
export LC_ALL=C.UTF-8
JAVA="-J-Dfile.encoding=UTF-8 -J-Dsun.jnu.encoding=UTF-8"

main() {
    rm -f ./*.pem ./*.der ./*.p12 ./*.jks ./*.jceks
    certificates
    short_keys
    pem_keys
    pkcs12_by_openssl
    by_keytool
}

# Makes a P-256 key and a certificate of it. The rest of the arguments are for openssl.
certificate() {
    name=$1
    shift
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$name.key"
    openssl req -new -key "$work/$name.key" -subj "/CN=$name" -out "$work/$name.csr"
    openssl x509 -req -in "$work/$name.csr" -days $DAYS -out "$work/$name.pem" "$@" 2>/dev/null
}

certificates() {
    printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n' >"$work/ca.ext"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$work/leaf.ext"
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/root.key"
    openssl req -new -x509 -key "$work/root.key" -subj /CN=root -days $DAYS -out "$work/root.pem"
    certificate middle -CA "$work/root.pem" -CAkey "$work/root.key" -CAcreateserial -extfile "$work/ca.ext"
    certificate leaf -CA "$work/middle.pem" -CAkey "$work/middle.key" -CAcreateserial -extfile "$work/leaf.ext"
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/other.key"
    openssl req -new -x509 -key "$work/other.key" -subj /CN=other -days $DAYS -out "$work/other.pem"
    cat "$work/leaf.pem" "$work/middle.pem" "$work/root.pem" >chain.pem
    cp "$work/other.pem" other.pem
    openssl x509 -in "$work/root.pem" -outform DER -out root.der
    openssl x509 -in "$work/root.pem" -trustout -addtrust serverAuth -out root-trusted.pem
    openssl x509 -in "$work/root.pem" -text -out root-with-text.pem
    openssl crl2pkcs7 -nocrl -certfile chain.pem -out chain.p7.pem
    cp "$work/leaf.csr" request.pem
    openssl pkcs8 -topk8 -nocrypt -in "$work/leaf.key" -outform DER -out leaf.key.der
    openssl pkcs8 -topk8 -nocrypt -in "$work/other.key" -outform DER -out other.key.der
}

# A key store whose RSA key is too short, and a chain whose middle certificate has this key.
short_keys() {
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$work/short.key" 2>/dev/null
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/short-root.key"
    openssl req -new -x509 -key "$work/short-root.key" -subj /CN=root -days $DAYS -out "$work/short-root.pem"
    openssl req -new -key "$work/short.key" -subj /CN=short -out "$work/short.csr"
    openssl x509 -req -in "$work/short.csr" -days $DAYS -CA "$work/short-root.pem" -CAkey "$work/short-root.key" \
        -CAcreateserial -extfile "$work/ca.ext" -out "$work/short.pem" 2>/dev/null
    certificate short-leaf -CA "$work/short.pem" -CAkey "$work/short.key" -CAcreateserial -extfile "$work/leaf.ext"
    cat "$work/short.key" "$work/short.pem" >short-keystore.pem
    cat "$work/short-leaf.pem" "$work/short.pem" "$work/short-root.pem" >short-chain.pem
}

# Each is the key of the leaf.
pem_keys() {
    plain=$work/leaf.key
    openssl pkcs8 -topk8 -nocrypt -in "$plain" -out key-pkcs8.pem
    openssl ec -in "$plain" -out key-sec1.pem 2>/dev/null
    { openssl ecparam -name prime256v1; cat key-sec1.pem; } >key-sec1-parameters.pem
    openssl genrsa -traditional -out key-pkcs1.pem 2048 2>/dev/null
    openssl genpkey -algorithm ED25519 -out key-ed25519.pem
    openssl ec -aes256 -passout pass:$KEY -in "$plain" -out key-traditional.pem 2>/dev/null
    openssl dsaparam -genkey 1024 2>/dev/null | sed '/PARAMETERS/,/PARAMETERS/d' >"$work/dsa.pem"
    openssl dsa -in "$work/dsa.pem" -traditional -out key-dsa.pem 2>/dev/null || openssl dsa -in "$work/dsa.pem" -out key-dsa.pem
    encrypt="openssl pkcs8 -topk8 -passout pass:$KEY -in $plain"
    $encrypt -v2 aes-256-cbc -out key-aes256-sha256.pem
    $encrypt -v2 aes-128-cbc -v2prf hmacWithSHA1 -out key-aes128-sha1.pem
    $encrypt -v2 aes-192-cbc -v2prf hmacWithSHA384 -out key-aes192-sha384.pem
    $encrypt -v2 aes-256-cbc -v2prf hmacWithSHA512 -out key-aes256-sha512.pem
    $encrypt -v2 aes-256-cbc -v2prf hmacWithSHA224 -out key-aes256-sha224.pem
    $encrypt -v2 des3 -out key-3des.pem
    $encrypt -v2 camellia-256-cbc -out key-camellia.pem
    $encrypt -scrypt -out key-scrypt.pem
    $encrypt -v1 PBE-SHA1-3DES -out key-pbe-3des.pem
    $encrypt -v1 PBE-SHA1-RC2-40 -provider legacy -provider default -out key-pbe-rc2.pem
    $encrypt -v1 PBE-MD5-DES -provider legacy -provider default -out key-pbe-md5-des.pem
    cat "$work/leaf.key" chain.pem >keystore.pem
    cat chain.pem key-aes256-sha256.pem >keystore-encrypted.pem
}

pkcs12_by_openssl() {
    cat "$work/middle.pem" "$work/root.pem" >"$work/cas.pem"
    export="openssl pkcs12 -export -passout pass:$STORE"
    with_key="$export -inkey $work/leaf.key -in $work/leaf.pem -certfile $work/cas.pem -name client"
    $with_key -out openssl.p12
    $with_key -legacy -out openssl-legacy.p12
    $with_key -legacy -descert -out openssl-3des.p12
    $with_key -legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-2DES -out openssl-rc2-128.p12
    $with_key -legacy -certpbe PBE-SHA1-RC4-128 -out openssl-rc4.p12
    $with_key -macalg sha512 -out openssl-mac-sha512.p12
    $with_key -iter 1 -out openssl-quick.p12
    $with_key -nomac -certpbe AES-256-CBC -out openssl-no-mac.p12
    $with_key -certpbe NONE -keypbe NONE -out openssl-plain.p12
    $export -nokeys -in chain.pem -out openssl-certificates.p12
    openssl pkcs12 -export -nokeys -certpbe NONE -nomac -passout pass: -in chain.pem -out openssl-plain-certificates.p12
    openssl pkcs12 -export -passout pass: -inkey "$work/leaf.key" -in "$work/leaf.pem" -out empty-password.p12
    openssl pkcs12 -export -passout "pass:$UNICODE" -legacy -inkey "$work/leaf.key" -in "$work/leaf.pem" -out unicode-legacy.p12
    openssl pkcs12 -export -passout "pass:$UNICODE" -inkey "$work/leaf.key" -in "$work/leaf.pem" -out unicode.p12
}

# The keystores come from openssl.p12, so that they hold the same key and chain.
by_keytool() {
    import="keytool -importkeystore -noprompt -srckeystore openssl.p12 -srcstoretype PKCS12 -srcstorepass $STORE -srcalias client"
    $import -destkeystore keytool.p12 -deststoretype PKCS12 -deststorepass $STORE
    $import -J-Dkeystore.pkcs12.legacy -destkeystore keytool-legacy.p12 -deststoretype PKCS12 -deststorepass $STORE
    $import -destkeystore keytool.jks -deststoretype JKS -deststorepass $STORE -destkeypass $KEY
    $import -destkeystore one-password.jks -deststoretype JKS -deststorepass $STORE -destkeypass $STORE
    $import -destkeystore keytool.jceks -deststoretype JCEKS -deststorepass $STORE -destkeypass $STORE
    $import $JAVA -destkeystore unicode.jks -deststoretype JKS -deststorepass "$UNICODE" -destkeypass "$UNICODE"
    for store in several.jks several.p12; do
        type=JKS
        [ $store = several.jks ] || type=PKCS12
        $import -destkeystore $store -deststoretype $type -deststorepass $STORE -destkeypass $STORE
        openssl pkcs12 -export -passout pass:$STORE -inkey "$work/other.key" -in other.pem -name second -out "$work/second.p12"
        keytool -importkeystore -noprompt -srckeystore "$work/second.p12" -srcstoretype PKCS12 -srcstorepass $STORE \
            -destkeystore $store -deststoretype $type -deststorepass $STORE
        keytool -importcert -noprompt -alias authority -file "$work/root.pem" -keystore $store -storepass $STORE
    done
    # Stores of which one key cannot be used: curve P-521, which the provider of TLS does not have; another password.
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out "$work/p521.key"
    openssl req -new -x509 -key "$work/p521.key" -subj /CN=p521 -days $DAYS -out "$work/p521.pem"
    openssl pkcs12 -export -passout pass:$STORE -inkey "$work/p521.key" -in "$work/p521.pem" -name p521 -out one-unusable.p12
    $import -destkeystore one-unusable.p12 -deststoretype PKCS12 -deststorepass $STORE
    $import -destkeystore two-passwords.jks -deststoretype JKS -deststorepass $STORE -destkeypass $KEY
    keytool -importkeystore -noprompt -srckeystore several.p12 -srcstoretype PKCS12 -srcstorepass $STORE -srcalias second \
        -destkeystore two-passwords.jks -deststoretype JKS -deststorepass $STORE -destkeypass $STORE
    trust="keytool -importcert -noprompt -storepass $STORE"
    for store in trust.jks trust.p12 trust-legacy.p12; do
        options="-storetype PKCS12"
        [ $store != trust.jks ] || options="-storetype JKS"
        [ $store != trust-legacy.p12 ] || options="$options -J-Dkeystore.pkcs12.legacy"
        $trust $options -alias root -file "$work/root.pem" -keystore $store
        $trust $options -alias Grüße -J-Dfile.encoding=UTF-8 -file other.pem -keystore $store
    done
    # As the cacerts of JDK 18 and later.
    plain="-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE -J-Dkeystore.pkcs12.macAlgorithm=NONE"
    $trust $plain -storetype PKCS12 -alias root -file "$work/root.pem" -keystore trust-plain.p12
    $trust $plain -storetype PKCS12 -alias other -file other.pem -keystore trust-plain.p12
    keytool -genseckey -alias aes -keyalg AES -keysize 128 -storetype PKCS12 -keystore secret-key.p12 -storepass $STORE
}

main
chmod 644 ./*
